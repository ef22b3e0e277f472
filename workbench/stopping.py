"""A clean stop: SIGTERM asks long work to save its state at the next step and end."""

import contextlib
import os
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator

from workbench.errors import WorkbenchError

WITHOUT_INFLUENCE = True  # on any result: how it is reported, watched or stopped

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_AFTER_FAILURE = 5.0


class Stopped(WorkbenchError):
    """The work was asked to stop and has saved its state; the same command goes on with it."""

    exit_code = 128 + signal.SIGTERM


class StopRequest:
    """``asked`` turns true when SIGTERM arrives, or with `ask_to_stop`."""

    def __init__(self) -> None:
        self.asked = False
        _REQUESTS.add(self)


_REQUESTS: weakref.WeakSet[StopRequest] = weakref.WeakSet()


def ask_to_stop() -> None:
    """Stop the long work of this process as SIGTERM does, in whatever thread it runs."""
    for request in list(_REQUESTS):
        request.asked = True


@contextlib.contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Within the block SIGTERM sets ``asked`` instead of ending the process; outside the main thread nothing changes.
    Blocks within others are asked together.

    Schedulers send SIGTERM some time before they kill: a loop that looks at ``asked`` after each step, saves its state
    and raises ``Stopped`` loses nothing.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: ask_to_stop())
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)


def waited_for(starts: Iterable[Callable[[], subprocess.Popen]], request: StopRequest) -> int:
    """Start processes that work together; the first exit status that is not 0, or 0 when all have ended.

    A stop that is asked for meanwhile is passed on to them, once, and then they take the time they need. Where one
    fails the others, which wait for it in vain, are ended after `SECONDS_AFTER_FAILURE`; with an error here at once.
    """
    children: list[subprocess.Popen] = []
    failed_at, passed_on = 0.0, False
    try:
        children += [start() for start in starts]
        while True:
            codes = [child.poll() for child in children]
            failed = next((code for code in codes if code), 0)
            if None not in codes:
                return failed
            failed_at = failed_at or (time.monotonic() if failed else 0.0)
            if failed and not request.asked and time.monotonic() > failed_at + SECONDS_AFTER_FAILURE:
                return failed
            if request.asked and not passed_on:
                passed_on = True
                for child in children:
                    child.terminate()
            time.sleep(SECONDS_BETWEEN_LOOKS)
    finally:
        for child in children:
            child.kill()
            child.wait()


def end_with(parent: int) -> None:
    """End this process within a second of the one that started it, whose number is ``parent``, however that ends.

    What is orphaned would otherwise wait for ever, or write into the folder that the next attempt resumes.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
