"""Whatever becomes of members, etcd and switches, in any order: ``World`` checks in each step what must never happen.

Afterwards, when all is mended, there are one leader and one master for each switch within a bounded time, and nobody
asks for roles any more.
"""

from __future__ import annotations

from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anycast_sdn.cluster.keys import SHARED
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.etcd.client import EtcdError
from tests.unit.cluster.world import PREFIX, Process, World
from tests.unit.etcd.fake import Fault

HEALED_S = 45.0  # a switch that was mute is asked again after pauses that double up to 30 s
UNFENCED = 3

which = st.integers(0, 3)
dpids = st.integers(1, 3)
faults = st.sampled_from([Fault.UNREACHABLE, Fault.NOT_APPLIED, Fault.APPLIED, Fault.LATE])
events = st.one_of(
    st.tuples(st.just("run"), st.floats(0.05, 4)),
    st.tuples(st.just("cut"), which, faults),
    st.tuples(st.sampled_from(["mend", "freeze", "thaw", "kill", "start", "revoke", "lead", "drain", "resume"]), which),
    st.tuples(st.sampled_from(["unhear", "hear"]), which),
    st.tuples(st.just("move"), which, dpids),
    st.tuples(st.sampled_from(["connect", "disconnect"]), which, dpids),
    st.tuples(st.sampled_from(["mute", "speak"]), dpids),
    st.tuples(st.sampled_from(["rebuild", "restart", "late", "no quorum", "quorum", "expire", "compact"])),
    st.tuples(st.sampled_from(["share", "gather"])),
)


def happen(world: World, event: tuple[object, ...]) -> None:
    match event:
        case ("run", float(seconds)):
            world.run(seconds)
        case ("mute" | "speak" as what, int(dpid)):
            world.switches[dpid].is_mute = what == "mute"
        case ("share" | "gather" as what,):
            for asked in world.members[:1]:
                with suppress(ConfigurationError, EtcdError):
                    asked.cluster.share(what == "share")
        case (str(what),):
            of_etcd(world, what)
        case (str(what), int(number), *more):
            if process := world.process(f"m{number}"):
                of_member(world, process, what, *more)
            elif what == "start":
                with suppress(ConfigurationError):
                    world.start(f"m{number}")


def of_etcd(world: World, what: str) -> None:
    etcd = world.etcd
    match what:
        case "rebuild":
            etcd.rebuild()
        case "restart":
            etcd.restart()
        case "late":
            etcd.late()
        case "no quorum":
            etcd.lose_quorum()
        case "quorum":
            etcd.regain_quorum()
        case "expire":
            for number in list(etcd.leases):
                etcd.revoke(number)
        case "compact":
            etcd.compact()


def of_member(world: World, process: Process, what: str, *more: object) -> None:
    match what, *more:
        case "cut", Fault() as fault:
            world.cut(process, fault)
        case ("mend",):
            world.mend(process)
        case ("freeze",):
            process.is_frozen = True
        case ("thaw",):
            process.is_frozen = False
        case ("unhear" | "hear",):
            process.is_unheard = what == "unhear"
        case ("kill",):
            world.kill(process)
        case ("revoke",):  # by another member, which takes it for dead
            world.etcd.revoke(process.lease.number)
        case ("lead" | "drain" | "resume",):
            for asked in world.members[:1]:
                with suppress(ConfigurationError, EtcdError):
                    getattr(asked.cluster, what)(process.id)
        case "move", int(dpid):
            for asked in world.members[:1]:
                with suppress(ConfigurationError, EtcdError):
                    asked.cluster.move(f"s{dpid}", process.id)
        case "connect", int(dpid):
            process.connect(dpid)
        case "disconnect", int(dpid):
            process.disconnect(dpid)


def mend(world: World) -> None:
    if not world.etcd.has_quorum:
        world.etcd.regain_quorum()
    world.etcd.late()
    for process in world.members:
        world.mend(process)
        process.is_frozen = process.is_unheard = False
    for switch in world.switches.values():
        switch.is_mute = False
    if not world.members:
        world.start("m0")
    world.run(5)
    for process in world.members:
        process.cluster.resume(process.id)
        for dpid in world.switches:
            process.connect(dpid)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(events, max_size=25))
def test_any_history_ends_well(history: list[tuple[object, ...]]) -> None:
    world = World(3, ["m0", "m1", "m2"], unfenced=[UNFENCED])
    for event in history:
        happen(world, event)
    mend(world)
    ends_well(world)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(events, max_size=25))
def test_any_history_of_shared_switches_ends_well(history: list[tuple[object, ...]]) -> None:
    world = World(3, ["m0", "m1", "m2"], unfenced=[UNFENCED])
    world.share()
    for event in history:
        happen(world, event)
    mend(world)
    world.share()
    ends_well(world)


def ends_well(world: World) -> None:
    is_well = world.is_shared if f"{PREFIX}{SHARED}" in world.etcd.values else world.is_whole
    world.until(is_well, HEALED_S)
    world.run(HEALED_S, step_s=0.25)
    assert is_well()
    assert world.requests_in(10) == 0
    for process in world.members:
        assert process.led == sorted(process.led)
