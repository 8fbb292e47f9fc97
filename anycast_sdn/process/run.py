"""``run``: the controller's process, from reading the network file until a signal ends it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from os_ken.base import app_manager
from os_ken.lib import hub

from anycast_sdn import __version__
from anycast_sdn.api import server
from anycast_sdn.api.rest import RestApi
from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.control.life import Life
from anycast_sdn.control.registry import Registry
from anycast_sdn.core.controller_events import ControllerStarted, ControllerStopping
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.core.words import counted, listed
from anycast_sdn.description import reading
from anycast_sdn.description.model import Network
from anycast_sdn.ovsdb.database import TlsFiles, use_tls
from anycast_sdn.process import garbage
from anycast_sdn.process.acceptor import Acceptor, raise_file_limit, shown
from anycast_sdn.process.app import AnycastApp
from anycast_sdn.process.binding_log import BindingLogOptions, BindingLogService
from anycast_sdn.process.deployment import Deployment, EtcdOptions, alone
from anycast_sdn.process.ending import Ending
from anycast_sdn.process.faults import isolated
from anycast_sdn.process.flow_keeper import FlowKeeper
from anycast_sdn.process.journal_keeper import JournalKeeper
from anycast_sdn.process.lifecycle import Lifecycle
from anycast_sdn.process.listening import listening
from anycast_sdn.process.rest_service import RestOptions, RestService
from anycast_sdn.process.rest_views import ControllerViews
from anycast_sdn.process.secure_random import SecureRandom
from anycast_sdn.process.service_manager import ServiceManager
from anycast_sdn.process.switch_tls import OpenFlowOptions, SwitchTls
from anycast_sdn.store.journal_file import JournalFile
from anycast_sdn.store.store import Store
from anycast_sdn.views.journal import KEPT, Entry, Journal

LOG = logging.getLogger(__name__)

SIGNALS_S = 0.1  # how often the signals' flags are polled
STORE_CHECK_S = 5.0
FINISH_S = 2.0  # at the end, requests may take so long, and so may connections of switches
FINISH_STEP_S = 0.02


def _expected(network: Network) -> list[str]:
    return [f"{switch.name} (datapath id {switch.dpid:#x})" for switch in network.switches]


def run(
    ending: Ending,
    file: Path,
    openflow: OpenFlowOptions,
    rest_options: RestOptions,
    database: str,
    binding_log: BindingLogOptions | None = None,
    ovsdb: TlsFiles | None = None,
    etcd: EtcdOptions | None = None,
) -> None:
    """Serve until a signal asks for the end.  ``ovsdb``: for databases of switches.  Raises ConfigurationError."""
    network = reading.load(file)
    _prepare_tls(network, ovsdb)
    switch_tls = SwitchTls(openflow, network.switches)
    rest = RestService(rest_options, database)
    app: AnycastApp | None = None
    lifecycle: Lifecycle | None = None

    def on_change(groups: Groups) -> None:
        if lifecycle:
            lifecycle.enrolments_changed()
        if app:
            app.set_groups(groups, registry.edges, registry.version)

    deployment = _in_etcd(etcd, network, str(rest), database) if etcd else alone(database)
    store, cluster = deployment.store, deployment.cluster
    registry = Registry(network, store, on_change)
    raise_file_limit()
    with listening("OpenFlow", "--openflow", openflow.address):
        acceptor = Acceptor(openflow.address, len(network.switches), switch_tls.wire)
    manager = app_manager.AppManager.get_instance()
    events = _events_file(database)
    journal = Journal(before=_earlier(events), member=etcd.member if etcd else "")
    app = manager.instantiate(
        AnycastApp, network, registry.groups, cluster, lambda: store.problem, journal, deployment.notes
    )
    keepers = _keep(app, journal, events, deployment, binding_log)
    app.drain_edges(registry.edges)
    app.enrolled(registry.version)
    lifecycle = _lifecycle(network, registry, app, cluster)
    app.cluster_state = deployment.state
    api = RestApi(
        registry, ControllerViews(app), lifecycle, server.pause_in_line(),
        require_match=rest_options.require_match, steering=deployment.steering,
    )  # fmt: skip
    rest.serve(deployment.serve(api, app.report), app.report)
    manager.instantiate_apps()
    hub.spawn(acceptor.serve, app, app.report)
    hub.spawn(lifecycle.run)
    deployment.start()
    app.report(_started(network, registry.groups, shown(openflow.address), str(rest), store))
    rest.report()
    switch_tls.report()
    LOG.info("waiting for %s: %s", counted(len(network.switches), "switch"), listed(_expected(network)))
    garbage.disable_automatic()
    service = ServiceManager(os.environ, os.getpid())
    service.ready(f"network {network.name}; OpenFlow on {shown(openflow.address)}, REST on {rest}")
    reloads = [partial(rest.reload, partial(hub.sleep, 0)), partial(switch_tls.reload, app.report)]
    _wait_for(ending, store, service, reloads)
    app.report(ControllerStopping(ending.asked))
    service.stopping()
    lifecycle.stop()
    _leave(deployment, app, rest, acceptor)
    _close(app, manager, store, keepers)
    LOG.info("stopped")


def _in_etcd(options: EtcdOptions, network: Network, rest: str, database: str) -> Deployment:
    from anycast_sdn.process.clustered import in_etcd  # not where a controller is alone

    return in_etcd(options, network, rest, database)


def _keep(
    app: AnycastApp,
    journal: Journal,
    events: JournalFile | None,
    deployment: Deployment,
    binding_log: BindingLogOptions | None,
) -> list[JournalKeeper | FlowKeeper]:
    """Begin to keep on disk what happens → those that have to ``finish``, the last one first."""
    keepers: list[JournalKeeper | FlowKeeper] = []
    if events:
        keepers.append(keeper := JournalKeeper(events, app.report))
        journal.listen(keeper)
        hub.spawn(keeper.run)
    deployment.share_events(app)
    if binding_log:
        app.log_bindings(BindingLogService(binding_log, app.controller, app.flow_feed, app.report))
    if flow_keeper := deployment.keep_flows(app):
        keepers.append(flow_keeper)
        hub.spawn(flow_keeper.run)
    return keepers


def _lifecycle(network: Network, registry: Registry, app: AnycastApp, cluster: Cluster) -> Lifecycle:
    life = Life(network, app.controller.switches_by_name(), SecureRandom(), app.controller.is_settled)
    app.when_it_begins_anew(lambda: life.begin_anew(app.controller.switches_by_name()))
    return Lifecycle(registry, app, cluster.leads, life)


def _started(network: Network, groups: Groups, openflow: str, rest: str, store: Store) -> ControllerStarted:
    servers = sum(len(group.servers) for group in groups)
    return ControllerStarted(__version__, network.name, openflow, rest, len(groups), servers, store.path)


def _prepare_tls(network: Network, files: TlsFiles | None) -> None:
    """For databases of switches.  Raises ConfigurationError."""
    if files:
        for file in files:
            if not os.access(file, os.R_OK):
                raise ConfigurationError(f"{file} of --ovsdb-key, --ovsdb-cert and --ovsdb-ca cannot be read")
        if not any(switch.ovsdb.startswith("ssl:") for switch in network.switches):
            reason = "are for switches with ovsdb: ssl:… in the network file, and there is none"
            raise ConfigurationError(f"--ovsdb-key, --ovsdb-cert and --ovsdb-ca {reason}")
        use_tls(files)
        return
    for switch in network.switches:
        if switch.ovsdb.startswith("ssl:"):
            reason = f"{switch.name} has ovsdb: {switch.ovsdb}, which needs --ovsdb-key, --ovsdb-cert and --ovsdb-ca"
            raise ConfigurationError(reason)


def _earlier(events: JournalFile | None) -> Iterable[Entry]:
    """What an earlier run has kept."""
    try:
        return [Entry.of(shown) for shown in events.read()] if events else []
    except OSError as error:  # whether it can be written is found when that is tried
        LOG.warning("earlier events cannot be read: %s", error)
        return []


def _events_file(database: str) -> JournalFile | None:
    """Beside the database."""
    return None if database == ":memory:" else JournalFile(Path(database).absolute().with_suffix(".events"), KEPT)


def _wait_for(ending: Ending, store: Store, service: ServiceManager, reloads: Iterable[Callable[[], None]]) -> None:
    """Returns when a signal has asked for the end; until then, checks the store and sends keep-alive messages."""
    check_at, check = 0.0, isolated(store.check)
    while not ending.asked:
        if (now := time.monotonic()) >= check_at:
            check()
            check_at = now + STORE_CHECK_S
        service.alive(now)
        if ending.hung_up:
            ending.hung_up = False
            for reload in reloads:
                isolated(reload)()
        hub.sleep(SIGNALS_S)


def _leave(deployment: Deployment, app: AnycastApp, rest: RestService, acceptor: Acceptor) -> None:
    """Another controller, if there is one, takes over while this one serves; others hear of its end when it is over."""
    deployment.leave()
    app.retire()
    _finish(rest, acceptor)
    deployment.stop()


def _close(
    app: AnycastApp, manager: app_manager.AppManager, store: Store, keepers: list[JournalKeeper | FlowKeeper]
) -> None:
    """Nothing happens any more: what is kept of it goes to disk."""
    if app.binding_log:
        app.binding_log.stop()
    manager.close()
    store.close()
    for each in reversed(keepers):
        each.finish()


def _finish(rest: RestService, acceptor: Acceptor) -> None:
    """Answer the requests in progress, send the messages that are queued, and close the connections of switches."""
    rest.close()
    deadline = time.monotonic() + FINISH_S
    while rest.busy and time.monotonic() < deadline:
        hub.sleep(FINISH_STEP_S)
    acceptor.stop()
    deadline = time.monotonic() + FINISH_S
    while acceptor.connections and time.monotonic() < deadline:
        hub.sleep(FINISH_STEP_S)
