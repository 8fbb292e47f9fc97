"""TLS: certificates, keys and CAs of this controller, who its peers are, and a small CA for testbeds."""
