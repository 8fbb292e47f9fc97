"""Several controllers that are master of the switches in turn."""

from __future__ import annotations

from anycast_sdn.simulation.network import SimulatedNetwork


class Turns:
    """The controllers of a network, of which one at a time is the master of all switches."""

    def __init__(self, net: SimulatedNetwork) -> None:
        self.net = net
        self.first = net.controller
        self.second = net._new_controller(self.first.groups)
        net.channels.term = 10

    def take_over(self, controller):
        """→ the messages that are sent to switches because of that."""
        net = self.net
        net.settle()
        before = net.controller
        net.channels.term += 1
        net.channels.replace_controller(controller)
        before.begin_anew()
        while before.is_busy():
            before.work(net.now)
        return net._connect_all()
