"""The file of tokens: read by the controller, changed by ``anycast-sdn token``.

The rules this file keeps:

- A change replaces the file as a whole, and is on the disk when it returns; whoever reads meanwhile has the old file or
  the new one.  Changes take turns by a lock on the directory, which leaves nothing behind.
- A new file has mode 0600.  It belongs to whom the old one belonged, or the directory, so that what root adds can be
  read by the controller's user.
- As sshd does with ``authorized_keys``: a file that others may write is refused, because they could make tokens.
  One that others may read is served with a warning, because no token follows from what is in it.
- Every failure is a TokensError that names the file and says what to do.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from anycast_sdn.api import tokens
from anycast_sdn.api.tokens import Tokens, TokensError

LARGEST = 16 << 20  # bytes
LOCK_S = 30.0  # another change takes milliseconds
RETRY_S = 0.02


def beside(database: str) -> Path | None:
    """Where the tokens of a controller with this database are, unless it is told otherwise."""
    return None if database == ":memory:" else Path(database).absolute().with_suffix(".tokens")


def read(path: Path, turn: Callable[[], None] = lambda: None) -> tuple[Tokens, str]:
    """→ (the tokens, a warning or "").  ``turn`` is called after each entry.  Raises TokensError."""
    with _failures_named(path):
        # Without O_NONBLOCK, opening a pipe would wait for somebody who writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            _check(path, status)
            with open(descriptor, "rb", closefd=False) as file:  # os.fdopen is eventlet's
                content = file.read(LARGEST + 1)
        finally:
            os.close(descriptor)
        if len(content) > LARGEST:
            raise TokensError(f"it has more than {LARGEST} bytes")
        found = tokens.parse(content, turn)
    exposed = status.st_mode & (stat.S_IRGRP | stat.S_IROTH)
    return found, f"{path}: others may read who has which rights: chmod 600 {path}" if exposed else ""


def change(path: Path, changed: Callable[[Tokens], Tokens], *, create: bool = False) -> Tokens:
    """Replaces the file's tokens by what ``changed`` makes of them → these.  Raises TokensError.

    ``create``: may the file be absent?
    """
    path = Path(os.path.realpath(path))  # a link to the file stays one
    with _failures_named(path), _locked(path.parent):
        absent = create and not path.exists()
        present = Tokens() if absent else read(path)[0]
        wanted = changed(present)
        _replace(path, tokens.written(wanted), (path.parent if absent else path).stat())
    return wanted


def _check(path: Path, status: os.stat_result) -> None:
    """Raises TokensError when it is no file that the controller's user alone may write."""
    if stat.S_ISDIR(status.st_mode):
        raise TokensError("is a directory; give the path of a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise TokensError("is no ordinary file")
    if status.st_uid not in (0, os.geteuid(), path.resolve().parent.stat().st_uid):
        raise TokensError("it belongs to another user, who could make tokens: chown it to the controller's")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise TokensError(f"others may write it, so they could make tokens: chmod 600 {path}")


def _replace(path: Path, content: bytes, like: os.stat_result) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with open(descriptor, "wb") as file:
            if os.geteuid() == 0:
                os.fchown(descriptor, like.st_uid, like.st_gid)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TokensError(f"another program has {directory} locked; try again") from None
                time.sleep(RETRY_S)
        yield
    finally:
        os.close(descriptor)  # ends the lock


@contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    try:
        yield
    except TokensError as error:
        raise error if str(error).startswith(f"{path}: ") else TokensError(f"{path}: {error}") from error
    except OSError as error:
        raise TokensError(f"{path}: {error.strerror}; {_advice(error)}") from error


def _advice(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "'anycast-sdn token add' makes it, in a directory that there is"
    if isinstance(error, PermissionError):
        return "do it as root, or as the user of the controller"
    return "check the file and its disk"
