"""The REST interface: enrol servers, read what the controller knows."""
