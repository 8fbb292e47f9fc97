"""Which controller may write to which switch, where there are several."""
