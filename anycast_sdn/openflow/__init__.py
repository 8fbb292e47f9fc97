"""The method in OpenFlow 1.3: pipeline, rules, their bytes on the wire, frames, and the connection to a switch."""
