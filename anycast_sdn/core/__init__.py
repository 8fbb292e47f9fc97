"""The method itself: values in, decisions out; no clock, no randomness, no I/O, no OpenFlow."""
