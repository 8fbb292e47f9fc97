"""The textbook application: what one writes after OS-Ken's tutorials, doing the benchmark's same work.

A packet-in handler parses the packet with ``os_ken.lib.packet``, keeps its state in dictionaries, builds
``OFPFlowMod`` and ``OFPPacketOut`` field by field and sends them with ``send_msg``.  It translates as the
product does, in both families, with idle timeouts, for TCP and UDP.  What it does not do: neighbours,
enrolment, routes (they come ready-made from its configuration), checks, restarts.

    textbook.py CONFIGURATION PORT

The configuration is JSON: ``services`` and ``servers`` (addresses), ``switches``: datapath id → ``prefixes``
(its PRh/k) and ``routes``: list of {"match": {...}, "set": {...}, "port": N} for its routing table.
"""

import json
import os
import sys
import warnings

os.environ["OSKEN_HUB_TYPE"] = "eventlet"
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
import eventlet  # noqa: E402

eventlet.monkey_patch()

import ipaddress  # noqa: E402
from collections import deque  # noqa: E402

from os_ken import cfg  # noqa: E402
from os_ken.base import app_manager  # noqa: E402
from os_ken.controller import ofp_event  # noqa: E402
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls  # noqa: E402
from os_ken.lib import hub  # noqa: E402
from os_ken.lib.packet import ipv4, ipv6, packet, tcp, udp  # noqa: E402
from os_ken.ofproto import ofproto_v1_3  # noqa: E402

OUT_TABLE, IN_TABLE, ROUTES = 0, 1, 2
IDLE_S = 300


class Pool:
    """Addresses of one prefix, one after the other; those given back come round again."""

    def __init__(self, prefix):
        self.fresh = ipaddress.ip_network(prefix).hosts()
        self.returned = deque()

    def lease(self):
        return self.returned.popleft() if self.returned else str(next(self.fresh))


class Textbook(app_manager.OSKenApp):
    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]  # noqa: RUF012 - as the tutorials have it

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.services = set(config["services"])
        self.servers = set(config["servers"])
        self.pools = {}  # datapath id → family → Pool
        self.flows = {}  # (datapath id, source, destination, protocol, ports) → PR1X
        self.translated = {}  # PR1X → the same key

    # ---------------------------------------------------------------- switches

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def switch_features_handler(self, ev):
        datapath = ev.msg.datapath
        ofproto, parser = datapath.ofproto, datapath.ofproto_parser
        switch = self.config["switches"][str(datapath.id)]
        prefixes = switch.get("prefixes", [])
        self.pools[datapath.id] = {ipaddress.ip_network(prefix).version: Pool(prefix) for prefix in prefixes}
        to_controller = [parser.OFPActionOutput(ofproto.OFPP_CONTROLLER, ofproto.OFPCML_NO_BUFFER)]
        for prefix in prefixes:
            for service in self.services:
                if ":" in service and ":" in prefix:
                    self.add_flow(datapath, OUT_TABLE, 10, parser.OFPMatch(eth_type=0x86DD, ipv6_dst=service),
                                  to_controller)  # fmt: skip
                elif ":" not in service and ":" not in prefix:
                    self.add_flow(datapath, OUT_TABLE, 10, parser.OFPMatch(eth_type=0x0800, ipv4_dst=service),
                                  to_controller)  # fmt: skip
            network = ipaddress.ip_network(prefix)
            masked = (str(network.network_address), str(network.netmask))
            if network.version == 6:
                match = parser.OFPMatch(eth_type=0x86DD, ipv6_dst=masked)
            else:
                match = parser.OFPMatch(eth_type=0x0800, ipv4_dst=masked)
            self.add_flow(datapath, IN_TABLE, 10, match, to_controller)
        self.add_flow(datapath, OUT_TABLE, 0, parser.OFPMatch(), goto=IN_TABLE)
        self.add_flow(datapath, IN_TABLE, 0, parser.OFPMatch(), goto=ROUTES)
        for route in switch.get("routes", []):
            actions = [parser.OFPActionSetField(**{field: value}) for field, value in route["set"].items()]
            actions += [parser.OFPActionDecNwTtl(), parser.OFPActionOutput(route["port"])]
            self.add_flow(datapath, ROUTES, 10, parser.OFPMatch(**route["match"]), actions)

    def add_flow(self, datapath, table, priority, match, actions=(), goto=None, idle=0):
        ofproto, parser = datapath.ofproto, datapath.ofproto_parser
        instructions = []
        if actions:
            instructions.append(parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, list(actions)))
        if goto is not None:
            instructions.append(parser.OFPInstructionGotoTable(goto))
        flags = ofproto.OFPFF_SEND_FLOW_REM if idle else 0
        mod = parser.OFPFlowMod(
            datapath=datapath,
            table_id=table,
            priority=priority,
            idle_timeout=idle,
            flags=flags,
            match=match,
            instructions=instructions,
        )
        datapath.send_msg(mod)

    # ---------------------------------------------------------------- packets

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in_handler(self, ev):
        msg = ev.msg
        pkt = packet.Packet(msg.data)
        ip = pkt.get_protocol(ipv4.ipv4) or pkt.get_protocol(ipv6.ipv6)
        transport = pkt.get_protocol(tcp.tcp) or pkt.get_protocol(udp.udp)
        if ip is None or transport is None:
            return
        if ip.dst in self.services:
            self.from_client(msg, ip, transport)
        elif ip.dst in self.translated and ip.src in self.servers:
            self.from_server(msg, ip, transport)

    def from_client(self, msg, ip, transport):
        datapath = msg.datapath
        version = 6 if isinstance(ip, ipv6.ipv6) else 4
        key = (datapath.id, ip.src, ip.dst, transport.protocol_name, transport.src_port, transport.dst_port)
        if key not in self.flows:
            address = self.pools[datapath.id][version].lease()
            self.flows[key] = address
            self.translated[address] = key
        actions = [self.set_field(datapath, version, "src", self.flows[key])]
        match = self.match(datapath, version, key[1:])
        self.add_flow(datapath, OUT_TABLE, 100, match, actions, IN_TABLE, IDLE_S)
        self.packet_out(msg)

    def from_server(self, msg, ip, transport):
        datapath = msg.datapath
        version = 6 if isinstance(ip, ipv6.ipv6) else 4
        key = self.translated[ip.dst]
        _, client, service, protocol, client_port, service_port = key
        if (transport.protocol_name, transport.src_port, transport.dst_port) != (protocol, service_port, client_port):
            return
        out_actions = [
            self.set_field(datapath, version, "src", ip.dst),
            self.set_field(datapath, version, "dst", ip.src),
        ]
        out_match = self.match(datapath, version, key[1:])
        self.add_flow(datapath, OUT_TABLE, 100, out_match, out_actions, IN_TABLE, IDLE_S)
        in_actions = [
            self.set_field(datapath, version, "src", service),
            self.set_field(datapath, version, "dst", client),
        ]
        in_match = self.match(datapath, version, (ip.src, ip.dst, protocol, service_port, client_port))
        self.add_flow(datapath, IN_TABLE, 100, in_match, in_actions, ROUTES, IDLE_S)
        self.packet_out(msg)

    def match(self, datapath, version, fields):
        source, destination, protocol, source_port, destination_port = fields
        family = "ipv6" if version == 6 else "ipv4"
        return datapath.ofproto_parser.OFPMatch(**{
            "eth_type": 0x86DD if version == 6 else 0x0800,
            f"{family}_src": source,
            f"{family}_dst": destination,
            "ip_proto": 6 if protocol == "tcp" else 17,
            f"{protocol}_src": source_port,
            f"{protocol}_dst": destination_port,
        })  # fmt: skip

    def set_field(self, datapath, version, end, address):
        family = "ipv6" if version == 6 else "ipv4"
        return datapath.ofproto_parser.OFPActionSetField(**{f"{family}_{end}": address})

    def packet_out(self, msg):
        datapath = msg.datapath
        ofproto, parser = datapath.ofproto, datapath.ofproto_parser
        out = parser.OFPPacketOut(
            datapath=datapath,
            buffer_id=ofproto.OFP_NO_BUFFER,
            in_port=msg.match["in_port"],
            actions=[parser.OFPActionOutput(ofproto.OFPP_TABLE)],
            data=msg.data,
        )
        datapath.send_msg(out)

    # ---------------------------------------------------------------- expiry

    @set_ev_cls(ofp_event.EventOFPFlowRemoved, MAIN_DISPATCHER)
    def flow_removed_handler(self, ev):
        msg = ev.msg
        if msg.table_id != OUT_TABLE:
            return
        fields = dict(msg.match.items())
        family = "ipv6" if fields["eth_type"] == 0x86DD else "ipv4"
        protocol = "tcp" if fields["ip_proto"] == 6 else "udp"
        key = (
            msg.datapath.id,
            fields[f"{family}_src"],
            fields[f"{family}_dst"],
            protocol,
            fields[f"{protocol}_src"],
            fields[f"{protocol}_dst"],
        )
        address = self.flows.pop(key, None)
        if address is not None:
            del self.translated[address]
            self.pools[msg.datapath.id][6 if family == "ipv6" else 4].returned.append(address)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        config = json.load(file)
    cfg.CONF([], project="textbook", default_config_files=[])
    cfg.CONF.set_override("ofp_listen_host", "127.0.0.1")
    cfg.CONF.set_override("ofp_tcp_listen_port", int(sys.argv[2]))
    manager = app_manager.AppManager.get_instance()
    manager.load_apps(["os_ken.controller.ofp_handler"])
    manager.instantiate(Textbook, config)
    hub.joinall(manager.instantiate_apps())


if __name__ == "__main__":
    main()
