"""Servers of the programs that tests/real/test_affinity.py shows, one of each kind on a host; see ``serve_all``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from support import PROGRAMS, Running, until

if TYPE_CHECKING:
    from testbed import Program

VSFTPD = """\
listen=NO
listen_ipv6=YES
background=NO
anonymous_enable=YES
no_anon_password=YES
anon_root={files}
secure_chroot_dir={empty}
seccomp_sandbox=NO
xferlog_enable=NO
"""
SNMPD = """\
agentaddress udp:161,udp6:161
rocommunity public
rocommunity6 public
sysname {host}
"""


def serve_all(network: Running, host: str, addresses: tuple[str, ...], directory: Path) -> None:
    """FTP, TFTP, SNMP, DNS, SIP with RTP and QUIC on this host; what they serve says its name."""
    directory.mkdir()
    files, empty = directory / "files", directory / "empty"
    for made in (files, empty):
        made.mkdir()
    for made in (directory, files, empty, *directory.parents):
        if made.is_relative_to("/tmp") and made != Path("/tmp"):
            made.chmod(0o755)
    (files / "name").write_text(host)
    (directory / "vsftpd.conf").write_text(VSFTPD.format(files=files, empty=empty))
    (directory / "snmpd.conf").write_text(SNMPD.format(host=host))
    spawn, listening = network.testbed.spawn, network.testbed.wait_listening
    programs = [
        spawn(host, ["vsftpd", str(directory / "vsftpd.conf")]),
        spawn(host, ["in.tftpd", "--foreground", "--secure", str(files)]),
        spawn(host, ["snmpd", "-f", "-Lo", "-C", "-c", str(directory / "snmpd.conf"), "-p", str(directory / "pid")]),
        spawn(host, ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root",
                     "--no-resolv", "--no-hosts", "--edns-packet-max=4096", f"--txt-record=name.example,{host}",
                     "--txt-record=big.example," + ",".join(["x" * 250] * 12)]),
        *(spawn(host, ["sipp", "-sn", "uas", "-rtp_echo", "-mp", "6000", "-nostdin", "-i", address])
          for address in addresses),
        spawn(host, [sys.executable, str(PROGRAMS / "quic_peer.py"), "serve", host, str(directory)]),
    ]  # fmt: skip
    try:
        listening(host, 21)
        for port in (69, 161, 53, 5060, 6000, 4433):
            listening(host, port, "udp")
        for port in (5060, 6000):  # sipp serves one family at a time
            until(lambda port=port: len(network.run(host, "ss", "-Hlun", f"sport = :{port}").splitlines()) == 2,
                  f"{host} listens on {port}/udp in both families")  # fmt: skip
    except Exception as error:
        raise AssertionError([program.output() for program in programs]) from error


IKE_INSIDE, WIREGUARD_INSIDE = "10.98.0.1", "10.99.0.1"  # addresses of servers that are reached by a tunnel alone
STRONGSWAN = """\
charon {{
  load = random nonce aes sha1 sha2 hmac kdf gmp socket-default vici kernel-libipsec kernel-netlink
  plugins {{
    vici {{
      socket = unix://{directory}/vici
    }}
  }}
}}
"""
IKE = """\
connections {{
  service {{
    version = 2
    proposals = aes128-sha256-modp2048
    {ends}
    local {{
      auth = psk
      id = {here}
    }}
    remote {{
      auth = psk
      id = {there}
    }}
    children {{
      net {{
        esp_proposals = aes128-sha256
        {selectors}
      }}
    }}
  }}
}}
pools {{
  clients {{
    addrs = 10.98.1.0/24
  }}
}}
secrets {{
  ike {{
    secret = "known to both"
  }}
}}
"""


class Tunnels:
    """IPsec by strongSwan and WireGuard by wireguard-go, both in user space: no module of the kernel is needed."""

    def __init__(self, network: Running, directory: Path) -> None:
        self._network = network
        self._directory = directory
        self._charons: dict[str, Program] = {}
        self._server_key, self._client_key = (
            self._key(network.testbed.network.hosts[0].name) for _ in range(2)
        )

    def _key(self, host: str) -> tuple[str, str]:
        """(private, public) of WireGuard."""
        private = self._network.run(host, "wg", "genkey").strip()
        return private, self._network.run(host, "sh", "-c", f"echo {private} | wg pubkey").strip()

    def serve(self, host: str) -> None:
        """All servers have the same keys, as servers of one service need."""
        run = self._network.run
        run(host, "ip", "address", "add", f"{IKE_INSIDE}/32", "dev", "lo")
        swanctl, _ = self._charon(host)
        swanctl(ends="pools = clients", here="server", there="client", selectors=f"local_ts = {IKE_INSIDE}/32")
        self._device(host, f"{WIREGUARD_INSIDE}/24", self._server_key[0], 51820)
        run(host, "wg", "set", self._name(host), "peer", self._client_key[1], "allowed-ips", "10.99.0.2/32")

    # ---------------------------------------------------------------- IKE

    def _charon(self, host: str) -> tuple[Callable[..., None], Callable[..., str]]:
        """Starts it → (loads a connection, runs swanctl)."""
        directory = self._directory / f"ike-{host}"
        directory.mkdir(exist_ok=True)
        (directory / "strongswan.conf").write_text(STRONGSWAN.format(directory=directory))
        settings = f"STRONGSWAN_CONF={directory}/strongswan.conf"
        # Its file with the process id is always in /run: each has one of its own.
        alone = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "mount -t tmpfs none /run && exec $0"]
        charon = self._network.testbed.spawn(host, ["env", settings, *alone, "/usr/lib/ipsec/charon"])
        self._charons[host] = charon

        def swanctl(*words: str) -> str:
            return self._network.run(host, "swanctl", *words, "--uri", f"unix://{directory}/vici")

        def load(**values: str) -> None:
            (directory / "swanctl.conf").write_text(IKE.format(**values))
            until((directory / "vici").exists, f"charon on {host} is ready")
            swanctl("--load-all", "--noprompt", "--file", f"{directory}/swanctl.conf")

        return load, swanctl

    @contextmanager
    def ike(self, host: str, service: str) -> Iterator[Callable[..., str]]:
        """A client of the service → its swanctl."""
        load, swanctl = self._charon(host)
        load(ends=f"remote_addrs = {service}\n    vips = 0.0.0.0", here="client", there="server",
             selectors=f"remote_ts = {IKE_INSIDE}/32")  # fmt: skip
        try:
            yield swanctl
            swanctl("--terminate", "--ike", "service", "--timeout", "5")
        finally:
            self._charons.pop(host).stop()
            (self._directory / f"ike-{host}" / "vici").unlink(missing_ok=True)

    # ---------------------------------------------------------------- WireGuard

    def _name(self, host: str) -> str:
        """Of the device; its socket is called after it, in a folder of the whole machine."""
        return self._network.testbed.own(f"wg-{host}")

    def _socket(self, host: str) -> Path:
        return Path(f"/run/wireguard/{self._name(host)}.sock")

    def _device(self, host: str, address: str, key: str, port: int) -> Program:
        name = self._name(host)
        file = self._directory / f"{name}.key"
        file.write_text(key)
        program = self._network.testbed.spawn(host, ["wireguard-go", "--foreground", name])
        until(self._socket(host).exists, f"{name} is there")
        self._network.run(host, "wg", "set", name, "private-key", str(file), "listen-port", str(port))
        self._network.run(host, "ip", "address", "add", address, "dev", name)
        self._network.run(host, "ip", "link", "set", name, "up")
        return program

    @contextmanager
    def wireguard(self, host: str, endpoint: str) -> Iterator[Callable[[int], None]]:
        """A client of the service at this endpoint → changes its port."""
        program = self._device(host, "10.99.0.2/24", self._client_key[0], 40000)
        peer = [self._server_key[1], "endpoint", endpoint, "allowed-ips", f"{WIREGUARD_INSIDE}/32"]
        self._network.run(host, "wg", "set", self._name(host), "peer", *peer)
        try:
            yield lambda port: self._network.run(host, "wg", "set", self._name(host), "listen-port", str(port)) and None
        finally:
            program.stop()
            until(lambda: not self._socket(host).exists(), f"wireguard-go on {host} has ended")
