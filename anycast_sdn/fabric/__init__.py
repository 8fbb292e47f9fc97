"""The interconnect network as a graph: routes, the order of their changes, and egress.  Pure."""
