"""What one process holds while others wait, and what the system frees when it ends: locks, temporary folders."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from workbench.errors import WorkbenchError

_HELD, SECONDS_TO_BEGIN = ".held", 60.0


@contextlib.contextmanager
def temporary_folder(prefix: str = "wb-", within: str | None = None) -> Iterator[str]:
    """A private temporary folder; those that killed processes of this user left behind are removed first.

    Its owner holds a lock file in it, which the system frees when the owner ends, in whatever container that runs.
    """
    for left in Path(within or tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if left.stat().st_uid != os.geteuid() or time.time() - left.stat().st_mtime < SECONDS_TO_BEGIN:
                continue
            left.rmdir()  # its owner was killed before it could lock
        with contextlib.suppress(OSError), open(left / _HELD) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=within) as folder, open(Path(folder) / _HELD, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield folder


@contextlib.contextmanager
def only_one(lock: Path, text: str, wait: bool) -> Iterator[None]:
    """Hold the lock file; another process waits, or is refused with ``text`` and the holder's process number.

    The system frees the lock of a killed process, so a lock file that lies about is harmless.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            refusal = f"{text} (process {file.read().strip() or '?'})"
            if not wait:
                raise WorkbenchError(f"{refusal}. Wait for it, or end it first.") from None
            print(f"{refusal}; waiting", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
