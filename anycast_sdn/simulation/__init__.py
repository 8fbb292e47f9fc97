"""The simulated network: it carries the tests and ``trace``."""
