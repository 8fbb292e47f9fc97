"""Routing protocols towards networks that we do not manage."""
