"""The REST interface: enrol servers, read the state of the controller and its switches."""
