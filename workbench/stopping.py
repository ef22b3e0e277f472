"""A clean stop: SIGTERM asks long work to save its state at the next step and end."""

import contextlib
import signal
import subprocess
import threading
import weakref
from collections.abc import Iterator

from workbench.errors import WorkbenchError

WITHOUT_INFLUENCE = True  # on any result: how it is reported, watched or stopped

SECONDS_BETWEEN_LOOKS = 0.2


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


def waited_for(child: subprocess.Popen, request: StopRequest) -> int:
    """The child's exit status; a stop that is asked for meanwhile is passed on to it, once, and any error ends it."""
    passed_on = False
    try:
        while True:
            try:
                return child.wait(timeout=SECONDS_BETWEEN_LOOKS)
            except subprocess.TimeoutExpired:
                if request.asked and not passed_on:
                    child.terminate()
                    passed_on = True
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()
