"""Decisions over time: events in, messages per switch out."""
