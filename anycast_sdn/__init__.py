"""IP anycast that keeps connections: an OpenFlow 1.3 controller after WO 2004/014046.

The packages, from the ground up: ``core`` is the method itself and ``description`` the network file; ``fabric``
finds routes; ``openflow`` puts the method into OpenFlow, and ``store``, ``cluster`` and ``routing`` face the database,
other controllers and other routers; ``engines`` carry the method out on a switch; ``control`` decides over time;
``views`` and ``api`` show it and take enrolments; ``simulation`` stands in for a network; ``process`` runs it all, and
``cli`` is the command line.  Imports point down only: the contracts in ``setup.cfg`` hold that.
"""

__version__ = "0.1.0"
