"""``cluster``: who takes part, who leads, who is the master of which switch; and what operators may change of that."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any

from anycast_sdn.cli import client, options
from anycast_sdn.cli.tables import table
from anycast_sdn.cli.terminal import harmless, styled
from anycast_sdn.core.words import counted, listed

_ABOUT = """\
Show the cluster as the controller that is asked sees it: its members, who leads, who is the master of which switch,
and etcd."""
_DRAIN = """\
Drain a member, for an upgrade: it hands over its switches and leadership to others, and takes none until it is resumed
or started again."""
_FORGET = """\
Say of a member that was lost, and will not come back, that it is not missed any more: the others are healthy without
it.  One that was stopped in order is not missed, and needs no such word."""
_MOVE = "Let a member be the master of a switch, where switches are shared."
_SHARE = """\
Share the switches among all members, so that new flows are served by all of them: each switch has one master, which
decides on the flows of its clients. All else is decided by the leader."""
_GATHER = "Let the leader be the master of all switches, as at the beginning."


def add_to(commands: Any) -> None:
    parser = options.command(
        commands, "cluster", "show the controllers of a cluster, or change who does what", _ABOUT,
        "cluster", "cluster drain m1", "cluster resume m1", "cluster lead m0", "cluster forget m2",
        parents=[client.arguments()],
    )  # fmt: skip
    parser.set_defaults(act=_show)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add(verbs, "drain", "let a member hand over what it has", _DRAIN, "{} hands over, and takes nothing")
    _add(verbs, "resume", "end its drain", "Let a drained member take part again.", "{} takes part again")
    _add(verbs, "lead", "let a member lead", "Let a member lead: decide on links and routes.", "{} leads now")
    _add(verbs, "forget", "miss a lost member no more", _FORGET, "{} is not missed any more")
    move = _verb(verbs, "move", "let a member be the master of a switch", _MOVE, "cluster move arh1 m1")
    move.add_argument("switch", metavar="SWITCH")
    move.add_argument("member", metavar="MEMBER")
    move.set_defaults(act=_move)
    share = _verb(verbs, "share", "share the switches among the members", _SHARE, "cluster share")
    share.set_defaults(act=_share("share", "the switches are shared"))
    gather = _verb(verbs, "gather", "give all switches to the leader", _GATHER, "cluster gather")
    gather.set_defaults(act=_share("gather", "the leader is the master of all switches"))


def _add(verbs: Any, name: str, summary: str, about: str, sentence: str) -> None:
    verb = _verb(verbs, name, summary, about, f"cluster {name} m1")
    verb.add_argument("member", metavar="MEMBER")
    verb.set_defaults(act=_asking(name, sentence))


def _verb(verbs: Any, name: str, summary: str, about: str, example: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = options.command(verbs, name, summary, about, example)
    client.add_arguments(verb, default=argparse.SUPPRESS)
    verb.add_argument("--json", action="store_true", default=argparse.SUPPRESS,
                      help="print the controller's answer as JSON, for programs")  # fmt: skip
    return verb


def _asking(verb: str, sentence: str) -> Callable[[argparse.Namespace], int]:
    def act(arguments: argparse.Namespace) -> int:
        path = client.path("cluster", "members", arguments.member, verb)
        answer = client.ask(client.controller(arguments), path, "POST")
        return options.said(arguments, answer, sentence.format(arguments.member))

    return act


def _move(arguments: argparse.Namespace) -> int:
    path = client.path("cluster", "members", arguments.member, "switches", arguments.switch)
    answer = client.ask(client.controller(arguments), path, "POST")
    return options.said(arguments, answer, f"{arguments.member} is the master of {arguments.switch}")


def _share(verb: str, sentence: str) -> Callable[[argparse.Namespace], int]:
    def act(arguments: argparse.Namespace) -> int:
        answer = client.ask(client.controller(arguments), client.path("cluster", verb), "POST")
        return options.said(arguments, answer, sentence)

    return act


def _show(arguments: argparse.Namespace) -> int:
    controller = client.controller(arguments)
    known = client.get(controller, "/v1/cluster", "members")
    print(json.dumps(known, indent=2) if arguments.json else "\n".join(screen(known, str(controller))))
    return 0


def screen(known: Any, where: str) -> Iterator[str]:
    """The lines; ``known``: what the controller has answered."""
    if known["mode"] == "alone":
        yield f"the controller at {where} is alone: it was started without --etcd"
        return
    leader = styled("no member leads", "critical") if known["leader"] is None else f"{harmless(known['leader'])} leads"
    yield f"{leader} (term {known['term']}), as {harmless(known['member'])} at {where} sees it"
    if known["incomplete"]:
        yield styled(f"missing, or not reached: {harmless(listed(known['incomplete']))}", "warning")
    yield from _etcd(known["etcd"])
    if astray := [switch["switch"] for switch in known["switches"] if _is_astray(switch)]:
        yield styled(f"not obeying the member that etcd names: {harmless(listed(astray))}", "warning")
    if known.get("shared"):
        yield "switches are shared: each is served by its master, and the leader decides on all but flows"
    if known["members"]:
        yield ""
        yield harmless(table([_member(member, known) for member in known["members"]]))
    yield ""
    moved = any(switch.get("moved_to") for switch in known["switches"])
    yield harmless(table([_switch(switch, moved) for switch in known["switches"]]))


def _etcd(etcd: Any) -> Iterator[str]:
    bad = [each for each in etcd["endpoints"] if not each["up"]]
    state = f"read {etcd['behind_s']:.1f} s ago" if etcd["up"] else f"{styled('away', 'critical')}: {etcd['problem']}"
    yield harmless(f"etcd: {state}; {len(etcd['endpoints']) - len(bad)} of "
                   f"{counted(len(etcd['endpoints']), 'endpoint')} healthy")  # fmt: skip
    schema = etcd.get("schema", {})  # one of an earlier release does not say it
    if waits_for := schema.get("waits_for"):
        have = "have releases that know" if len(waits_for) > 1 else "has a release that knows"
        yield harmless(f"  schema {schema['now']}: {listed(waits_for)} {have} no later one; it is raised to "
                       f"{schema['later']} when none has")  # fmt: skip
    yield from (harmless(f"  {each['url']}: {each['problem']}") for each in bad)


def _member(member: Any, known: Any) -> dict[str, Any]:
    state = [
        "leads" if member["leads"] else "",
        "draining" if member["draining"] else "",
        "" if member["reached"] else "not reached",
    ]
    return {
        "member": member["name"],
        "state": ", ".join(filter(None, state)),
        "master of": sum(each["master"] == member["name"] for each in known["switches"]),
        "connected": len(member["switches"]),
        "release": member["release"],
        "since": member["since"],
        "REST": member["rest"],
    }


def _is_astray(switch: Any) -> bool:
    """Does it obey another member than etcd names, or none that is heard?"""
    return bool(_obeys(switch) != switch["master"])


def _obeys(switch: Any) -> Any:
    return switch.get("obeys", switch["master"])  # a controller of an earlier release does not say it


def _switch(switch: Any, moved: bool) -> dict[str, Any]:
    """``moved``: has an operator given any switch to a member?"""
    claims = switch.get("claims", [])
    return {
        "switch": switch["switch"],
        "master": switch["master"] or "none",
        "generation": switch["generation"],
        **({"moved to": switch.get("moved_to")} if moved else {}),
        "obeys": _obeys(switch) or ("not known" if switch["master"] else "none"),
        "members say": ",\n".join(map(_claim, claims)) if _is_astray(switch) or len(claims) > 1 else "",
    }


def _claim(claim: Any) -> str:
    return f"{claim['member']}: {claim['says']} (by {claim['generation']}, term {claim['term']})"
