"""BindingLogService: what becomes of flows gets into the binding log, whatever happens to its writer."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from os_ken.lib import hub

from anycast_sdn.control.share import Share
from anycast_sdn.core.client_edge import ClientEdge
from anycast_sdn.core.events import Drop
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import UDP, AnycastGroup, ConfigurationError, FlowKey, Prefix, Server, packed
from anycast_sdn.core.network_events import PoolExhausted
from anycast_sdn.core.roles import ClientEdgeRole
from anycast_sdn.core.transitions import FlowEvent
from anycast_sdn.process import binding_log
from anycast_sdn.process.binding_log import BindingLogOptions, BindingLogService
from anycast_sdn.process.flow_feed import FlowFeed
from anycast_sdn.store.bindings import records
from anycast_sdn.store.bindings.messages import Unavailable

H, ANY, AS2 = map(packed, ("10.1.0.10", "198.18.0.1", "10.2.0.10"))
ROLE = ClientEdgeRole((Prefix.parse("203.0.113.0/24"),), (Prefix.parse("198.18.0.0/16"),), quarantine_s=10)
WEB = Groups({"web": AnycastGroup("web", (Prefix.host(ANY),), {AS2: Server(AS2)})})
LONGEST_S = 30.0


class Logged:
    """A client edge and its log; ``step`` is what the application does several times a second."""

    def __init__(self, folder):
        self.edge = ClientEdge(ROLE, random.Random(1))
        engine = SimpleNamespace(flow_record=self.edge.record, flows=self.edge.bindings)
        switch = SimpleNamespace(
            name="arh1", engine=engine, ever_synchronised=True, reading=None, decides_on_flows=False,
            share=Share.ALL,
        )  # fmt: skip
        controller = SimpleNamespace(switches={1: switch})
        self.feed = FlowFeed(controller)
        self.reported = []
        self.path = folder / "bindings.jsonl"
        self.service = BindingLogService(BindingLogOptions(self.path), controller, self.feed, self.reported.append)

    def open(self, port, now=None):
        return self.edge.client_packet(FlowKey(H, ANY, UDP, port, 53), WEB, now or time.monotonic()).binding

    def end(self, flow):
        self.edge.apply(flow, FlowEvent.ENDED, time.monotonic())

    def step(self):
        self.feed.collect()
        self.service._step()

    def until(self, condition, what):
        deadline = time.monotonic() + LONGEST_S
        while not condition():
            assert time.monotonic() < deadline, what
            self.step()
            time.sleep(0.01)

    def lines(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def events(self):
        return [line["event"] for line in self.lines()]

    def flows(self):
        return [(each["event"], each["sourceTransportPort"]) for each in self.lines() if "number" in each]

    def stop(self):
        self.service.stop()


@pytest.fixture
def logged(tmp_path, monkeypatch):
    monkeypatch.setattr(binding_log, "FINISH_S", LONGEST_S)
    logged = Logged(tmp_path)
    yield logged
    logged.stop()
    assert logged.service._process is None or logged.service._process.poll() is not None


def test_what_becomes_of_flows_is_written_and_found(logged):
    flow = logged.open(40000)
    logged.until(lambda: "opened" in logged.events(), "it is written")
    answered = threading.Event()
    pump = threading.Thread(target=lambda: logged.until(answered.is_set, "it is answered"))
    pump.start()
    found = logged.service.who(flow.translated, time.time(), 40000)
    answered.set()
    pump.join()
    assert [each["client_port"] for each in found["bindings"]] == [40000]


def test_an_end_in_order_is_written(logged):
    logged.end(logged.open(40000))
    logged.step()
    logged.stop()
    assert logged.events() == ["file", "start", "opened", "closed", "stop"]
    assert logged.path.stat().st_mode & 0o777 == 0o640


def test_a_writer_that_dies_is_started_again_and_told_of_all_flows(logged, monkeypatch):
    monkeypatch.setattr(binding_log, "RESTART_S", 0.1)
    logged.open(1)
    ended = logged.open(2)
    logged.until(lambda: logged.events().count("opened") == 2, "they are written")
    os.kill(logged.service._process.pid, signal.SIGKILL)
    logged.until(lambda: logged.service.problem, "its end is noticed")
    assert "is not written" in logged.service.wrong(time.monotonic())
    logged.end(ended)
    logged.open(3)
    logged.until(lambda: not logged.service.problem, "another one is started")
    logged.until(lambda: {("adopted", 1), ("closed", 2)} <= {*logged.flows()}, "it is told of all flows")
    assert [each.type for each in logged.reported] == ["binding_log.failed", "binding_log.recovered"]
    assert {("opened", 3), ("adopted", 3)} & set(logged.flows())
    assert [each for each in logged.lines() if "gapFrom" in each]


def test_the_log_has_an_end_also_when_the_controller_died_before_it_read_what_the_writer_said(logged, monkeypatch):
    monkeypatch.setattr(logged.service, "_receive", lambda: None)
    logged.open(1)
    logged.until(lambda: "opened" in logged.events(), "it is written")
    logged.service._writer.close()
    assert logged.service._process.wait(LONGEST_S) == 0
    assert logged.events()[-1] == "stop"


def test_what_is_being_collected_when_the_controller_stops_is_written_before_the_end(logged):
    logged.until(lambda: "start" in logged.events(), "the writer is there")
    logged.open(1)
    logged.feed.collects = True
    hub.spawn_after(0.1, setattr, logged.feed, "collects", False)
    logged.stop()
    assert logged.events()[-2:] == ["opened", "stop"]


def test_what_could_not_be_sent_is_counted_and_told_again(logged, monkeypatch):
    logged.open(1)
    logged.until(lambda: "opened" in logged.events(), "it is written")
    with monkeypatch.context() as patch:
        patch.setattr(binding_log, "MOST_QUEUED", -1)
        for port in range(2, 5):
            logged.open(port)
        logged.feed.collect()
    assert logged.service.missing == 3
    assert "3 records are missing" in logged.service.wrong(time.monotonic())
    logged.open(5)
    logged.until(lambda: "gap" in logged.events(), "the gap is said")
    logged.until(lambda: {port for _, port in logged.flows()} == {1, 2, 3, 4, 5}, "all are known")


def test_refusals_and_pools_are_written(logged, monkeypatch):
    monkeypatch.setattr(binding_log, "REFUSED_S", 0.0)
    for _ in range(3):
        logged.edge.record.refused(H, Drop.CLIENT_FULL)
    logged.service(PoolExhausted("arh1", "ipv4", 254, 250, 4))
    logged.until(lambda: {"quota exceeded", "pool exhausted"} <= set(logged.events()), "they are written")
    quota = next(each for each in logged.lines() if each["event"] == "quota exceeded")
    assert (quota["natEvent"], quota["sourceIPv4Address"], quota["packets"]) == (13, "10.1.0.10", 3)


def test_a_log_that_does_not_answer_is_unavailable(logged, monkeypatch):
    monkeypatch.setattr(binding_log, "ANSWER_S", 0.01)
    with pytest.raises(Unavailable, match="does not answer in time"):
        logged.service.who(H, 0.0, None)


def test_a_file_that_cannot_be_written_is_an_error_at_the_start(tmp_path):
    (tmp_path / "bindings.jsonl").mkdir()
    with pytest.raises(ConfigurationError, match="Is a directory"):
        Logged(tmp_path)


# ------------------------------------------------------------------------------ in a cluster


def test_a_member_that_leads_again_says_since_when_it_did_not_and_which_flows_have_gone(logged):
    logged.open(1)
    gone = logged.open(2)
    logged.until(lambda: logged.events().count("opened") == 2, "they are written")
    logged.service.rest()
    logged.edge.record.watch(False)  # the controller forgets its flows
    logged.end(gone)
    logged.edge.record.watch(True)
    logged.service.begin_anew()
    assert logged.service.resting_since is not None
    logged.service.resume()
    assert logged.service.resting_since is None
    logged.service.flows_settled("arh1")  # nothing is told of either flow
    logged.until(lambda: logged.events().count("closed") == 2, "both are known to have ended")
    (gap,) = (line for line in logged.lines() if line["event"] == "gap")
    assert gap["reason"] == records.ANOTHER_LED
    began, told = (datetime.fromisoformat(gap[each]) for each in ("gapFrom", "time"))
    assert abs(told - began) < timedelta(seconds=LONGEST_S)  # two clocks, of the controller and of the log's writer
    assert {line["endedBy"] for line in logged.lines() if line["event"] == "closed"} == {"unseen"}


def test_a_member_that_has_never_led_has_nothing_to_say_twice(logged):
    logged.service.rest()
    since = logged.service.resting_since
    logged.service.rest()
    assert logged.service.resting_since == since
    logged.service.resume()
    logged.service.resume()
    logged.until(lambda: "gap" in logged.events(), "the gap is written")
    assert logged.events().count("gap") == 1


def test_flows_of_an_edge_that_another_member_serves_end_here_and_begin_again_when_it_comes_back(logged):
    flow = logged.open(1)
    logged.until(lambda: "opened" in logged.events(), "it is written")
    for _ in range(3):
        logged.service.hand_over(["arh1"])
    logged.until(lambda: "closed" in logged.events(), "it has ended here")
    logged.edge.record.adopted(flow, time.monotonic())
    logged.until(lambda: "adopted" in logged.events(), "it is served here again")
    logged.service.hand_over(["arh1"])
    logged.until(lambda: logged.events().count("closed") == 2, "and handed over again")
    assert [event for event, _ in logged.flows()] == ["opened", "closed", "adopted", "closed"]
    assert {line["endedBy"] for line in logged.lines() if line["event"] == "closed"} == {"handed_over"}


def test_flows_that_others_serve_are_not_told_of_again_after_a_loss(logged):
    logged.open(1)
    logged.until(lambda: "opened" in logged.events(), "it is written")
    switch = logged.service._controller.switches[1]
    switch.share = Share.REST
    logged.service._tell_again()
    switch.share, switch.decides_on_flows = Share.FLOWS, False
    logged.service._tell_again()
    logged.service.flows_refused("arh1", [])
    logged.step()
    switch.decides_on_flows = True
    logged.service._tell_again()
    logged.until(lambda: "adopted" in logged.events(), "it is told of where it is served here")
    assert logged.events().count("adopted") == 1
