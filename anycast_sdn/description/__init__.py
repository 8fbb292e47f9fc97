"""The network file: what it may say, how it is read, and what must hold of it."""
