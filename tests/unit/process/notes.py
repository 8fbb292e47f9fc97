"""Members of a cluster in one process: who leads is said by the test, and notes are in a dictionary of all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping


class Board:
    """The notes of all, and who leads."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.leader = ""
        self.number = 0

    def lead(self, member: str) -> None:
        self.leader = member
        self.number += 1


class BoardNotes:
    """``Notes`` of one member."""

    def __init__(self, board: Board, member: str) -> None:
        self.board = board
        self.member = member
        self.is_current = True
        self._listeners: list[Callable[[Collection[str]], None]] = []
        self._told: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        return self.board.texts.get(key)

    def below(self, prefix: str) -> Mapping[str, str]:
        return {key[len(prefix):]: text for key, text in self.board.texts.items() if key.startswith(prefix)}

    def put(self, key: str, text: str | None) -> None:
        assert self.board.leader == self.member, "only the leader notes"
        if text is None:
            self.board.texts.pop(key, None)
        else:
            self.board.texts[key] = text

    def flush(self) -> None:
        pass

    def watch(self, changed: Callable[[Collection[str]], None]) -> None:
        self._listeners.append(changed)

    def tell(self) -> None:
        """Listeners are told of what has changed."""
        told, self._told = self._told, dict(self.board.texts)
        changed = {key for key in told.keys() | self._told.keys() if told.get(key) != self._told.get(key)}
        for listener in self._listeners:
            listener(changed)
