"""Routing protocols towards networks that the controller does not manage."""
