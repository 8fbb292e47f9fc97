"""The simulated network, which the tests and ``trace`` use."""
