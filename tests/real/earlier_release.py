"""``anycast-sdn`` as the release before this one: it knows the first schema of etcd alone."""

from __future__ import annotations

import sys

import anycast_sdn
from anycast_sdn.etcd import schema

anycast_sdn.__version__ = "0.0.9"
schema.KNOWN = (1,)

from anycast_sdn.cli.main import main  # noqa: E402  (what it imports takes these)

sys.exit(main())
