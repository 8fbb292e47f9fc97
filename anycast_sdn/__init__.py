"""IP anycast that keeps connections: an OpenFlow 1.3 controller after WO 2004/014046.

``core`` is the method itself, ``openflow`` says it in a switch's words, ``control`` decides over
time, ``store`` remembers enrolments, ``api`` offers them over REST; ``app`` and ``cli`` put it
together.  Imports point down only; the contracts in ``setup.cfg`` hold that line.
"""

__version__ = "0.1.0"
