"""The binding log: who held which translation address, and when."""
