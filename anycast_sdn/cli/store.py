"""``store export``, ``store import``, ``store network``: what is kept for a network, without its controller."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anycast_sdn.cli import etcd, options
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.core.words import counted

if TYPE_CHECKING:
    from anycast_sdn.description.model import Network
    from anycast_sdn.etcd.mirror import Mirror
    from anycast_sdn.store.store import Store, Stored

_ABOUT = """\
Move enrolments between a database, etcd and a JSON file, and accept a changed network file in etcd. FILE is the network
file, --database and --etcd are as those of 'run'. A database is read and written while its controller is stopped;
controllers on etcd may run, and follow."""

_EXPORT = """\
Write all that is enrolled (groups, servers, drains) as JSON."""

_IMPORT = """\
Enrol what 'store export' has written. It is checked first, as REST would: if something does not fit the network,
nothing is changed. Where something is enrolled already, --replace is needed: all of that is replaced, as one change.

From one controller to several on etcd: stop it, export from --database, import to --etcd, start them with --etcd."""

_NETWORK = """\
Controllers on etcd all have the same network file: one with another does not join. Accept this FILE from now on.
Those that run go on with theirs and say so; start them anew with FILE, one after the other, the leader last."""


def add_to(commands: Any) -> None:
    store = options.command(
        commands, "store", "move enrolments between database, etcd and file", _ABOUT,
        "store export my.yaml --database enrolments.sqlite --output enrolments.json",
        "store import my.yaml enrolments.json --etcd http://192.0.2.1:2379",
    )  # fmt: skip
    verbs = store.add_subparsers(title="commands", required=True, metavar="COMMAND")
    export = options.command(
        verbs, "export", "write what is enrolled as JSON", _EXPORT,
        "store export my.yaml --database enrolments.sqlite --output enrolments.json",
        "store export my.yaml --etcd http://192.0.2.1:2379,http://192.0.2.2:2379",
    )  # fmt: skip
    options.add_file(export)
    _add_place(export)
    export.add_argument("--output", type=options.path, metavar="PATH",
                        help="write to this file, which must not be there yet (default: standard output)")
    export.set_defaults(act=_export)
    into = options.command(
        verbs, "import", "enrol what was exported", _IMPORT,
        "store import my.yaml enrolments.json --etcd http://192.0.2.1:2379",
        "store import my.yaml - --database enrolments.sqlite --replace",
    )  # fmt: skip
    options.add_file(into)
    into.add_argument("input", type=options.path, metavar="INPUT", help="the JSON file; - is standard input")
    _add_place(into)
    into.add_argument("--replace", action="store_true", help="replace what is enrolled there")
    into.set_defaults(act=_import)
    network = options.command(
        verbs, "network", "accept a changed network file in etcd", _NETWORK,
        "store network my.yaml --etcd http://192.0.2.1:2379",
    )  # fmt: skip
    options.add_file(network)
    network.add_argument("--etcd", type=options.endpoints, required=True, metavar="URL[,URL…]", help="where etcd is")
    etcd.add_to(network)
    network.set_defaults(act=_network)


def _add_place(verb: Any) -> None:
    where = verb.add_mutually_exclusive_group(required=True)
    where.add_argument("--database", type=options.path, metavar="PATH", help="the controller's --database")
    where.add_argument("--etcd", type=options.endpoints, metavar="URL[,URL…]", help="the controllers' --etcd")
    etcd.add_to(verb)


def _export(arguments: argparse.Namespace) -> int:
    from anycast_sdn.description import reading
    from anycast_sdn.store.moving import exported

    etcd.must_fit(arguments)
    network = reading.load(arguments.file)
    if arguments.database and not os.path.exists(arguments.database):
        raise ConfigurationError(f"{arguments.database}: there is no such file")
    if arguments.etcd and "version" not in _mirror(arguments, network).values:
        raise ConfigurationError(f"etcd {', '.join(arguments.etcd)}: has no enrolments of the network {network.name}")
    with closing(_store(arguments, network)) as store:
        stored = store.open()
    content = exported(network.name, stored)
    if arguments.output:
        try:
            with open(arguments.output, "x", encoding="utf-8") as file:
                file.write(content)
        except FileExistsError:
            raise ConfigurationError(f"{arguments.output}: is there already; give another path") from None
        print(f"{arguments.output}: {_counted(stored)}", file=sys.stderr)
    else:
        print(content, end="")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from anycast_sdn.cluster.agreement import Agreement
    from anycast_sdn.description import reading
    from anycast_sdn.store.moving import differences, imported

    etcd.must_fit(arguments)
    network = reading.load(arguments.file)
    source = "standard input" if arguments.input == "-" else arguments.input
    try:
        content = sys.stdin.read() if arguments.input == "-" else Path(arguments.input).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{source}: is not a text in UTF-8: {error.reason}") from error
    wanted = imported(content, source, network)
    if arguments.etcd and (differs := Agreement(_mirror(arguments, network), network).difference()):
        reason = f"is another network file than that of the controllers in etcd: {differs}"
        raise ConfigurationError(f"{arguments.file}: {reason}; use theirs, or see 'anycast-sdn store network'")
    with closing(_store(arguments, network)) as store:
        present = store.open(wanted.groups.values())  # which enter one that was never opened
        changes = differences(present, wanted)
        is_other = bool(present.edges) or (bool(present.groups) and present.groups != wanted.groups)
        if changes and is_other and not arguments.replace:
            there = f"{store.path}: has {_counted(present)}"
            raise ConfigurationError(f"{there} already; --replace replaces all of that")
        if changes:
            store.change(present.version, changes)
    print(f"{store.path}: {_counted(wanted)}", file=sys.stderr)
    return 0


def _network(arguments: argparse.Namespace) -> int:
    from anycast_sdn.cluster.agreement import Agreement
    from anycast_sdn.description import reading
    from anycast_sdn.etcd.client import EtcdError

    etcd.must_fit(arguments)
    network = reading.load(arguments.file)
    try:
        changed = Agreement(_mirror(arguments, network), network).accept()
    except EtcdError as error:
        raise ConfigurationError(f"etcd: {error}") from error
    said = f"accepted; what is different: {changed}" if changed else "is accepted already; nothing was changed"
    print(f"{arguments.file}: {said}", file=sys.stderr)
    return 0


def _store(arguments: argparse.Namespace, network: Network) -> Store:
    """Raises StoreError, ConfigurationError."""
    from anycast_sdn.store.etcd import EtcdStore
    from anycast_sdn.store.sqlite import SqliteStore

    if arguments.database:
        return SqliteStore(arguments.database)
    return EtcdStore(_mirror(arguments, network), f"etcd {', '.join(arguments.etcd)}")


def _mirror(arguments: argparse.Namespace, network: Network) -> Mirror:
    """Raises ConfigurationError."""
    from anycast_sdn.etcd.client import Etcd, EtcdError
    from anycast_sdn.etcd.mirror import Mirror

    client = Etcd(arguments.etcd, etcd.tls(arguments), user=etcd.user(arguments))
    mirror = Mirror(client, f"/anycast-sdn/{network.name}/")
    try:
        mirror.load()
    except EtcdError as error:
        raise ConfigurationError(f"etcd cannot be read: {error} (--etcd)") from error
    return mirror


def _counted(stored: Stored) -> str:
    servers = sum(len(group.servers) for group in stored.groups.values())
    return f"{counted(len(stored.groups), 'group')} and {counted(servers, 'server')}"
