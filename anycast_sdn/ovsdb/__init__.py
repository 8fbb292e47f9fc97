"""The database of an Open vSwitch, which is reached by OVSDB (RFC 7047)."""
