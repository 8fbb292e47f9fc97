"""etcd: a client of its JSON gateway, and a mirror of what this network has there."""
