"""What a server's agent reports of it: its load (M26), and results of checks that it has made (M33)."""

from __future__ import annotations

from anycast_sdn.api.asked import Answer, Asked
from anycast_sdn.api.models import Reports
from anycast_sdn.api.tokens import Need
from anycast_sdn.control.agent_checks import Reported
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.health import CheckName, CheckResult
from anycast_sdn.core.load import LoadReport
from anycast_sdn.core.model import Address


def put_load(asked: Asked, group: str, address: Address) -> Answer:
    """The load is the server's, at both its addresses, in each of its groups whose servers the caller may enrol.

    So whoever enrols another group's server in its own group cannot keep it from its flows in the other one.
    """
    server = asked.registry.server(group, address)

    def counts_in(name: str) -> bool:
        return asked.caller.may(Need.ENROL, name, address)

    for each in filter(None, (address, server.twin)):
        asked.views.report_load(each, LoadReport(**asked.body.values()), counts_in)
    return Answer()


def put_checks(asked: Asked, group: str, address: Address) -> Answer:
    asked.registry.server(group, address)
    reports: Reports = asked.body
    results = [
        Reported(
            CheckName(each.type, each.port, each.detail),
            CheckResult(each.status == HealthStatus.PASSING.value, each.output),
            each.interval_s,
        )
        for each in reports.checks
    ]
    asked.views.report_checks(group, address, results)
    return Answer()
