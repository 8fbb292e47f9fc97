"""Steering: what operators may ask a cluster for."""

from __future__ import annotations

from typing import Protocol

from anycast_sdn.core.model import ConfigurationError


class CannotSteer(ConfigurationError):
    """It is not done as things are now: why."""


class ClusterUnreachable(ConfigurationError):
    """Where members agree cannot be asked now: why.  Whether it was done is not always known."""


class Steering(Protocol):
    """``name``: of a member.  Each raises NotFound when none of this name is there, CannotSteer, ClusterUnreachable."""

    def drain(self, name: str) -> None:
        """The member hands over all that it has, and takes nothing until ``resume``."""

    def resume(self, name: str) -> None:
        """It may lead, and be the master of switches, again."""

    def lead(self, name: str) -> None:
        """It leads from now on."""

    def forget(self, name: str) -> None:
        """It is gone for good: no member misses it from now on."""

    def share(self, on: bool) -> None:
        """Are the switches shared among the members from now on, or all the leader's?"""

    def move(self, switch: str, name: str) -> None:
        """The member is the switch's master from now on, where switches are shared."""


class NoSteering:
    """Of a controller that is alone."""

    def drain(self, name: str) -> None:
        raise CannotSteer("this controller is alone: it was started without --etcd")

    resume = lead = forget = drain

    def share(self, on: bool) -> None:
        self.drain("")

    def move(self, switch: str, name: str) -> None:
        self.drain(name)
