"""The method in OpenFlow 1.3 words: pipeline, rules, wire bytes, frames and the channel to a switch."""
