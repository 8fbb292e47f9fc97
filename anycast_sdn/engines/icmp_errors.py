"""ICMP errors about a flow's packets, translated for the other side (RFC 5508 REQ-4, REQ-5).

An error quotes the packet that it is about, with the addresses that this packet had on the reporter's side of the
client edge.  On the receiver's side the flow has other addresses: those of the error and of the quoted packet change.
"""

from __future__ import annotations

from collections.abc import Collection

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.model import Address, FlowKey
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.frames import IcmpError


def client_key(error: IcmpError) -> FlowKey:
    """The flow to whose reply a client's error refers."""
    return error.quoted.reverse


def to_client(frame: bytes, error: IcmpError, binding: Binding, servers: Collection[Address]) -> bytes | None:
    """Translate an error about a packet from PR1X; None when that is no packet of this flow.

    ``servers``: the pinned one, or all that may have received the packet.
    """
    key = binding.key
    sent_to = error.quoted.destination
    there = key.protocol, binding.port_there, key.destination_port
    is_ours = error.quoted.source == binding.translated and (key.is_whole or error.quoted[2:] == there)
    if not is_ours or sent_to not in (key.destination, *servers):
        return None
    return builders.translate_icmp_error(
        frame,
        source=key.destination if error.source in servers else error.source,
        destination=key.source,
        quoted_source=key.source,
        quoted_destination=key.destination,
        quoted_ports=key[3:] if binding.translated_port else None,
    )


def to_server(frame: bytes, error: IcmpError, binding: Binding) -> bytes | None:
    """Translate a client's error about a reply; None when that is no reply of this flow."""
    if binding.server is None or (error.source, error.destination) != (binding.key.source, binding.key.destination):
        return None
    return builders.translate_icmp_error(
        frame,
        source=binding.translated,
        destination=binding.server,
        quoted_source=binding.server,
        quoted_destination=binding.translated,
        quoted_ports=(error.quoted.source_port, binding.port_there) if binding.translated_port else None,
    )
