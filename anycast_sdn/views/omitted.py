"""Omitted: the parts of the network that are left out to see what it would be without them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from anycast_sdn.core.model import Address, NotFound, packed, text
from anycast_sdn.core.selection import Candidate
from anycast_sdn.core.words import some
from anycast_sdn.description.model import Port
from anycast_sdn.views.snapshot import Ends, Snapshot
from anycast_sdn.views.turns import with_turns


class Omitted(NamedTuple):
    """The parts of the network that are left out."""

    switches: frozenset[str]
    links: frozenset[frozenset[Port]]  # the ends of each
    uplinks: frozenset[str]
    servers: frozenset[Address]

    @classmethod
    def parse(cls, words: Sequence[str], snapshot: Snapshot, turn: Callable[[], None] = lambda: None) -> Omitted:
        """Each word is a switch, an uplink, a server's address, or a link: one of its ports, ``c1:1``, both,
        ``c1:1-c2:2``, or the switches that it joins, ``c1-c2``, which leaves out all links between them.

        Raises NotFound for words that name nothing, or several parts.
        """
        switches = {switch.name for switch in snapshot.switches}
        uplinks = {uplink.name for uplink in snapshot.uplinks}
        enrolled = snapshot.groups.servers()
        named = [_canonical(word) for word in words]
        addresses = {word: address for word in named if (address := _address(word))}
        servers = {word: address for word, address in addresses.items() if address in enrolled}
        links = _links_named(named, switches, (link.ends for link in snapshot.links))
        meanings = dict.fromkeys(named, 0)
        for word in meanings:
            joined = {frozenset(end.switch for end in ends) for ends in links.get(word, ())}
            meanings[word] = (word in switches) + (word in uplinks) + (word in servers) + len(joined)
        if unknown := [word for word, count in meanings.items() if not count]:
            known = list(with_turns(map(text, enrolled), turn))
            raise NotFound(
                f"{some(map(ascii, unknown))}: no switch ({some(switches)}), no uplink ({some(uplinks)}), "
                f"no link, such as c1:1 or c1-c2, and no enrolled server ({some(known)})"
            )
        if unclear := [word for word, count in meanings.items() if count > 1]:
            raise NotFound(f"{some(map(ascii, unclear))}: names several things; name a link by a port, as in c1:1")
        return cls(
            frozenset(switches.intersection(named)),
            frozenset().union(*(links.get(word, ()) for word in named)),
            frozenset(uplinks.intersection(named)),
            frozenset(servers[word] for word in named if word in servers),
        )

    @property
    def has_servers(self) -> bool:
        """Are servers left out, themselves or with the edge that they are behind?"""
        return bool(self.servers or self.switches)

    def left(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Those that are not left out, themselves or with the edge that they are behind."""
        return [each for each in candidates if each.address not in self.servers and each.edge not in self.switches]

    def has(self, ends: Ends) -> bool:
        """Is the link with these ends left out, itself or with a switch?"""
        return frozenset(ends) in self.links or any(end.switch in self.switches for end in ends)


NOTHING = Omitted(frozenset(), frozenset(), frozenset(), frozenset())


def _canonical(word: str) -> str:
    """An address in its usual form; a link with a hyphen between its ends; all else unchanged."""
    address = _address(word)
    return text(address) if address else word.replace("–", "-")


def _address(word: str) -> Address | None:
    try:
        return packed(word)
    except ValueError:
        return None


def _links_named(
    words: Sequence[str], switches: Collection[str], all_ends: Iterable[Ends]
) -> dict[str, set[frozenset[Port]]]:
    """Word → the ends of the links that it may name.  Only links of switches with which a word begins are compared."""
    longest = max(map(len, switches), default=0)
    begun = {word[:at] for word in words for at in range(min(len(word), longest + 1)) if word[at] in ":-"}
    links: dict[str, set[frozenset[Port]]] = {}
    for ends in all_ends:
        for a, b in (ends, ends[::-1]):
            for name in (str(a), f"{a}-{b}", f"{a.switch}-{b.switch}") if a.switch in begun else ():
                links.setdefault(name, set()).add(frozenset(ends))
    return links
