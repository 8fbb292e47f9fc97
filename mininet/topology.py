"""Any network file as a Mininet topology, for Mininet's own command:

    sudo mn --custom mininet/topology.py --topo anycast,my-network.yaml --controller remote,port=6653

``mn`` runs this file with the distribution's Python, and imports every name that it defines, so these are
few.  The project's other packages are in the .venv that mininet/install has made.  An error ends ``mn`` with a
sentence, before anything is built.
"""

from __future__ import annotations

import sys
from pathlib import Path

_here = Path(sys._getframe().f_code.co_filename).resolve().parent  # ``mn`` sets no __file__
_packages = (_here.parent / ".venv/lib").glob("python{}.{}/site-packages".format(*sys.version_info))
sys.path[:0] = [place for place in map(str, _packages) if place not in sys.path]
sys.path += [place for place in map(str, (_here.parent, _here)) if place not in sys.path]

try:
    from nodes import CLI, of_file
except ImportError as error:
    sys.exit(f"mininet/topology.py: {error}; run mininet/install first, which brings the Python packages")

topos = {"anycast": of_file}
__all__ = ["CLI", "topos"]
