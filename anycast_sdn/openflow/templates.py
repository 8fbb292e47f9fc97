"""A binding's flow-mods, packed fast from templates: the messages of the first-packet path.

A template is a message that OS-Ken's serialiser made once, for a binding with recognisable values; the values of each
further binding are packed at their offsets.  So the field-by-field path (``codec``) stays the definition, and a test
holds the two equal.

There is one template for each ``_Shape``: all properties of a rule on which the offsets of its fields depend.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from anycast_sdn.core.bindings import Binding, Half, State
from anycast_sdn.core.model import WHOLE, FlowKey
from anycast_sdn.openflow import entries, oxm, transactions
from anycast_sdn.openflow.pipeline import BINDING_KINDS, cookie
from anycast_sdn.openflow.rules import FlowRule, PutBinding

_FLOW, _FLOW_NUMBER = transactions.of_flow(0), (1 << transactions.FLOW_BITS) - 1  # ``of_flow``, without a call
Serialise = Callable[[FlowRule], bytes]  # the flow-mod that adds a rule, with transaction id 0

_XID_AT = 4  # in its header
_COMMAND_AT = 25  # in an ofp_flow_mod (OF 1.3.5 §7.3.4.2)
_ADD, _DELETE_STRICT = 0, 4  # OFPFC_*
_FIN_MARK = 0xE1E2
_IP_PROTO = [*(oxm.header("ip_proto") + bytes([protocol]) for protocol in range(256)), None]  # WHOLE matches none


class _Shape(NamedTuple):
    half: Half
    pinned: bool
    v6: bool
    protocol: int
    fin_timeout: bool
    marks: bool


# What differs between the rules of one shape, in this order: command, cookie, idle timeout, fin timeout, protocol,
# source, destination, source port, destination port, new source, new destination, transaction id.  A plain tuple, which
# is fast to make: there is one for every rule.
_Values: TypeAlias = tuple[int, int, int, int, bytes | None, bytes, bytes, int, int, bytes, bytes | None, int]


def _values(put: PutBinding, command: int) -> _Values:
    binding, half, idle, fin, _ = put
    number, key, translated, _, _, server, *_ = binding
    source, destination, protocol, source_port, destination_port = key
    proto = _IP_PROTO[protocol]
    whole = protocol == WHOLE
    if half is Half.OUT:
        cookie = (_OUT if server else _OUT_UNANSWERED)[whole] | number
        ends = (source, destination, source_port, destination_port, translated, server)
        return command, cookie, idle, fin, proto, *ends, _FLOW | number & _FLOW_NUMBER
    assert server is not None
    ends = (server, translated, destination_port, source_port, destination, source)
    return command, _IN[whole] | number, idle, fin, proto, *ends, _FLOW | number & _FLOW_NUMBER


# Cookies without a number: of one flow's rule, of a whole client's.
_OUT_UNANSWERED, _OUT, _IN = (
    tuple(cookie(BINDING_KINDS[whole, half, state]) for whole in (False, True))
    for half, state in ((Half.OUT, State.UNANSWERED), (Half.OUT, State.PINNED), (Half.IN, State.PINNED))
)


class _Template:
    """A message with gaps for ``_Values``."""

    def __init__(self, message: bytes, sample: _Values) -> None:
        width = f"{len(sample[5])}s"
        formats = ("B", "Q", "H", "H", "5s", width, width, "H", "H", width, width, "I")
        fixed = {0: _COMMAND_AT, len(sample) - 1: _XID_AT}  # at the same place in all flow-mods
        gaps = [(at, index) for index, at in fixed.items()]
        for index, (value, form) in enumerate(zip(sample, formats, strict=True)):
            marker = b"" if value is None else struct.pack("!" + form, value)
            if index not in fixed and marker and marker in message:
                gaps.append((message.index(marker), index))
                assert message.count(marker) == 1, "each value of the sample must occur once"
        layout, order, end = "!", [], 0
        constants: list[bytes] = []
        for at, index in sorted(gaps):
            layout += f"{at - end}s{formats[index]}"
            order += [len(sample) + len(constants), index]
            constants.append(message[end:at])
            end = at + struct.calcsize("!" + formats[index])
        self._pack = struct.Struct(f"{layout}{len(message) - end}s").pack
        self._pick = itemgetter(*order, len(sample) + len(constants))
        self._constants = (*constants, message[end:])

    def fill(self, values: _Values) -> bytes:
        return self._pack(*self._pick(values + self._constants))


class Templates:
    """The templates, each made when its shape is first needed."""

    def __init__(self, serialise: Serialise) -> None:
        self._serialise = serialise
        self._known: dict[tuple[Half, bool, bool, int, bool, bool], _Template] = {}  # by _Shape, as a plain tuple

    def put(self, put: PutBinding) -> bytes:
        """The flow-mod that adds the rule; its transaction id is the flow's."""
        return self._filled(put, _ADD)

    def remove(self, put: PutBinding) -> bytes:
        """The flow-mod that deletes it.  Strict deletion looks at table, priority and match alone."""
        return self._filled(put, _DELETE_STRICT)

    def _filled(self, put: PutBinding, command: int) -> bytes:
        binding, half, _, fin, marks = put
        source, _, protocol, _, _ = binding.key
        shape = half, binding.server is not None, len(source) == 16, protocol, fin > 0, marks
        template = self._known.get(shape) or self._make(shape)
        return template.fill(_values(put, command))

    def _make(self, shape: tuple[Half, bool, bool, int, bool, bool]) -> _Template:
        sample = _sample(_Shape(*shape))
        message = self._serialise(entries.binding(sample))
        marked = _values(sample._replace(fin_timeout=_FIN_MARK), _ADD)
        self._known[shape] = _Template(message, marked)
        return self._known[shape]


def _sample(shape: _Shape) -> PutBinding:
    """A binding of this shape with values that occur nowhere else in a flow-mod."""
    size = 16 if shape.v6 else 4
    client, service, translated, server = (bytes([0xC1 + 7 * end] * size) for end in range(4))
    key = FlowKey(client, service, shape.protocol, 0xA1A2, 0xA3A4)
    binding = Binding(0xB1B2B3B4B5, key, translated, "", 0.0, server if shape.pinned else None)
    return PutBinding(binding, shape.half, 0xD1D2, _FIN_MARK if shape.fin_timeout else 0, shape.marks)
