"""The command line: a module for each group of commands, and ``main``, which puts them together."""
