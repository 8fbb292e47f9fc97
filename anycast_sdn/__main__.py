"""``python -m anycast_sdn``: the command line."""

import sys

from anycast_sdn.cli.main import main

sys.exit(main())
