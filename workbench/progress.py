"""How long work is followed: a bar for a person, lines every 30 seconds for a log, curves in TensorBoard or MLflow."""

import contextlib
import importlib.util
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any, TypeVar

from workbench.errors import WorkbenchError

WITHOUT_INFLUENCE = True  # on any result: how it is reported, watched or stopped

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 30.0
TRACKERS = ("", "tensorboard", "mlflow")  # the latter two are also the packages that they need
PLACE = "tracking"
_RUN_ID = "mlflow_run.txt"


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


@contextlib.contextmanager
def tracked(kind: str, folder: Path, name: str, step: int = 0) -> Iterator[Callable[[dict[str, Any], int], None]]:
    """Within the block, a function that adds the finite numbers of a dict to the curves of the work in ``folder``.

    ``kind`` is one of ``TRACKERS``, of which "" keeps no curves. TensorBoard's files lie in ``folder / "tracking"``;
    MLflow's do unless its environment variable MLFLOW_TRACKING_URI names a server. Work that is resumed after ``step``
    steps continues its curves. Raises WorkbenchError for an unknown kind or a package that is not installed.
    """
    if kind not in TRACKERS:
        raise WorkbenchError(f"tracker {kind!r} is not known; expected one of {', '.join(map(repr, TRACKERS))}.")
    if not kind:
        yield lambda values, step: None
        return
    if importlib.util.find_spec(kind) is None:
        raise WorkbenchError(
            f'tracker "{kind}" needs a package that is not installed: pip install {kind}. Or choose another tracker; '
            "the log in the training's folder is written in any case."
        )
    from accelerate import PartialState
    from accelerate.tracking import TensorBoardTracker

    PartialState()  # accelerate's own messages ask which process they come from
    place = Path(folder) / PLACE
    place.mkdir(parents=True, exist_ok=True)
    # What was logged after the step that work goes on from would be drawn twice.
    tracker = TensorBoardTracker(name, place, purge_step=step + 1) if kind == "tensorboard" else _mlflow(place, name)
    tracker.main_process_only = False  # the process that writes is chosen by whoever makes the tracker
    tracker.start()
    if kind == "mlflow":
        (place / _RUN_ID).write_text(tracker.tracker.info.run_id + "\n", encoding="utf-8")

    def log(values: dict[str, Any], step: int) -> None:
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
        tracker.log({name: value for name, value in numbers.items() if math.isfinite(value)}, step=step)

    try:
        yield log
    finally:
        tracker.finish()


def _mlflow(place: Path, name: str) -> Any:
    import mlflow
    from accelerate.tracking import MLflowTracker

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(f"sqlite:///{place.resolve() / 'mlflow.db'}")
    known = place / _RUN_ID
    run = known.read_text(encoding="utf-8").strip() if known.exists() else None
    artefacts = (place / "artefacts").resolve().as_uri()
    return MLflowTracker(name, artefacts, run_id=run, run_name=name)
