"""Progress of long loops: a bar for a person, a line every 30 seconds for a log."""

import os
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

WITHOUT_INFLUENCE = True  # on any result: how it is reported, watched or stopped

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 30.0


def headless() -> bool:
    """Whether nobody is looking at a live screen (set by the notebook runner)."""
    return os.environ.get("WORKBENCH_HEADLESS", "") == "1"


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield ``items`` and show how far the loop has come.

    ``description`` names the work in words; ``total`` is needed where ``items`` has no length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if not headless():
        from tqdm.auto import tqdm

        yield from tqdm(items, desc=description, total=total, leave=False)
        return
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            of_total = f" of {total:,}" if total else ""
            print(f"{description}: {done:,}{of_total}, {now - started:.0f} s", flush=True)
