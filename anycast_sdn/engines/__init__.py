"""How a client edge carries the method out on its switch."""
