"""Servers of the programs that tests/real/test_affinity.py shows, one of each kind on a host; see ``serve_all``."""

from __future__ import annotations

import sys
from pathlib import Path

from support import PROGRAMS, Running, until

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


def serve_all(network: Running, host: str, directory: Path) -> None:
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
        spawn(host, ["sipp", "-sn", "uas", "-rtp_echo", "-mp", "6000", "-nostdin", "-i", "0.0.0.0"]),
        spawn(host, [sys.executable, str(PROGRAMS / "quic_peer.py"), "serve", host, str(directory)]),
    ]  # fmt: skip
    try:
        listening(host, 21)
        for port in (69, 161, 53, 5060, 6000, 4433):
            listening(host, port, "udp")
    except Exception as error:
        raise AssertionError([program.output() for program in programs]) from error


def end_of_line(text: str) -> str:
    return text.strip().splitlines()[-1]


__all__ = ["end_of_line", "serve_all", "until"]
