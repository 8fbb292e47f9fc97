"""The one thing that setup.cfg cannot say: beside the packages that are found, topologies/ is one.

So a wheel holds the network files as ``anycast_sdn.topologies``, and in the repository they stand where people look
for them.  Everything else is in setup.cfg.
"""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["anycast_sdn*"]), "anycast_sdn.topologies"])
