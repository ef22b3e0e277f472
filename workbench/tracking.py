"""Loss curves outside the notebook: each logged line also goes to TensorBoard or MLflow."""

import contextlib
import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError

WITHOUT_INFLUENCE = True  # on any result: how it is reported, watched or stopped

TRACKERS = ("", "tensorboard", "mlflow")  # the latter two are also the packages that they need
PLACE = "tracking"
_RUN_ID = "mlflow_run.txt"


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

    PartialState()  # accelerate's own messages ask which process they come from
    place = Path(folder) / PLACE
    place.mkdir(parents=True, exist_ok=True)
    tracker = _tensorboard(place, name, step) if kind == "tensorboard" else _mlflow(place, name)

    def log(values: dict[str, Any], step: int) -> None:
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
        tracker.log({name: value for name, value in numbers.items() if math.isfinite(value)}, step=step)

    try:
        yield log
    finally:
        tracker.finish()


def _started(tracker: Any) -> Any:
    tracker.main_process_only = False  # the process that writes is chosen by whoever makes the tracker
    tracker.start()
    return tracker


def _tensorboard(place: Path, name: str, step: int) -> Any:
    from accelerate.tracking import TensorBoardTracker

    # What was logged after the step that work goes on from would be drawn twice.
    return _started(TensorBoardTracker(name, place, purge_step=step + 1))


def _mlflow(place: Path, name: str) -> Any:
    import mlflow
    from accelerate.tracking import MLflowTracker

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(f"sqlite:///{place.resolve() / 'mlflow.db'}")
    known = place / _RUN_ID
    run = known.read_text(encoding="utf-8").strip() if known.exists() else None
    artefacts = (place / "artefacts").resolve().as_uri()
    tracker = _started(MLflowTracker(name, artefacts, run_id=run, run_name=name))
    known.write_text(tracker.tracker.info.run_id + "\n", encoding="utf-8")
    return tracker
