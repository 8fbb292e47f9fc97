"""Mirror: what etcd has, in memory."""

from __future__ import annotations

import pytest

from anycast_sdn.etcd.client import Delete, Put, Value
from anycast_sdn.etcd.mirror import DEAF_S, Mirror
from tests.unit.etcd.fake import FakeEtcd, Fault, catch_up


class Watched:
    """A mirror of /x/, and the keys that its listeners were told of."""

    def __init__(self) -> None:
        self.etcd = FakeEtcd()
        self.client = self.etcd.client()
        self.mirror = Mirror(self.client, "/x/", lambda seconds: None)
        self.told: list[set[str]] = []
        self.mirror.listen(lambda keys: self.told.append(set(keys)))
        self.etcd.put("/x/a", "1")
        self.etcd.put("/other", "1")
        catch_up(self.mirror)

    def texts(self) -> dict[str, str]:
        return {key: value.text for key, value in self.mirror.values.items()}


def test_it_has_what_is_below_its_prefix() -> None:
    assert Watched().mirror.values == {"a": Value("1", 2, 2)}


def test_it_takes_what_changes_revision_by_revision() -> None:
    watched = Watched()
    watched.etcd.put("/x/b", "2")
    watched.etcd.transact((), [Put("/x/a", "3"), Delete("/x/b"), Put("/x/c", "4")])
    catch_up(watched.mirror)
    assert watched.told == [{"a"}, {"b"}, {"a", "b", "c"}]
    assert watched.texts() == {"a": "3", "c": "4"}


def test_after_a_break_the_difference_is_told_as_if_it_had_been_watched() -> None:
    watched = Watched()
    watched.client.fault = Fault.UNREACHABLE
    catch_up(watched.mirror)
    assert watched.mirror.problem == "fake: Connection refused"
    watched.etcd.transact((), [Delete("/x/a"), Put("/x/b", "2")])
    watched.client.fault = None
    catch_up(watched.mirror)
    assert (watched.told[-1], watched.texts(), watched.mirror.problem) == ({"a", "b"}, {"b": "2"}, "")


def test_a_watch_that_is_silent_is_taken_for_deaf_and_everything_is_read_anew() -> None:
    watched = Watched()
    watched.client.is_deaf = True
    watched.etcd.put("/x/b", "2")
    watched.etcd.advance(DEAF_S + 0.1)
    catch_up(watched.mirror)
    assert watched.mirror.problem == "fake: timed out"
    catch_up(watched.mirror)
    assert watched.texts() == {"a": "1", "b": "2"}


def test_what_the_watch_sends_late_does_not_replace_what_was_read_later() -> None:
    watched = Watched()
    watched.etcd.put("/x/a", "2")
    watched.etcd.put("/x/a", "3")
    watched.mirror.load()
    catch_up(watched.mirror)
    assert (watched.texts(), watched.told) == ({"a": "3"}, [{"a"}, {"a"}])


def test_revisions_that_etcd_has_forgotten_are_read_anew() -> None:
    watched = Watched()
    for number in range(3):
        watched.etcd.put("/x/a", f"{number}")
    watched.etcd.compact()
    catch_up(watched.mirror)
    catch_up(watched.mirror)
    assert watched.texts() == {"a": "2"}


def test_it_says_when_etcd_has_gone_back() -> None:
    watched = Watched()
    saved = watched.etcd.saved()
    watched.etcd.put("/x/a", "2")
    catch_up(watched.mirror)
    watched.etcd.restore(saved)
    for _ in range(2):
        catch_up(watched.mirror)
    assert (watched.texts(), watched.mirror.times_gone_back, watched.mirror.revision) == ({"a": "1"}, 1, 3)
    watched.etcd.rebuild()
    for _ in range(2):
        catch_up(watched.mirror)
    assert (watched.texts(), watched.mirror.times_gone_back) == ({}, 2)


def test_a_fault_in_one_listener_does_not_concern_the_others() -> None:
    watched = Watched()
    after: list[set[str]] = []

    def fails(keys: object) -> None:
        raise KeyError

    watched.mirror.listen(fails)
    watched.mirror.listen(lambda keys: after.append(set(keys)))
    watched.etcd.put("/x/b", "2")
    catch_up(watched.mirror)
    assert after == [{"b"}]


def test_a_fault_in_the_mirror_itself_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.client.below = watched.client.watch = lambda *_: 1 // 0  # type: ignore[assignment]
    problems: list[str] = []

    def pause(seconds: float) -> None:
        problems.append(watched.mirror.problem)
        if len(problems) == 2:
            watched.mirror.stop()

    watched.mirror.pause = pause
    watched.mirror.run()
    assert problems == ["internal error: integer division or modulo by zero"] * 2
    assert "internal error with what etcd has sent" in caplog.text
