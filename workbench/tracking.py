"""Loss curves outside the notebook: each logged line also goes to TensorBoard or MLflow."""

import importlib.util
import math
import os
from pathlib import Path
from types import TracebackType

from workbench.errors import WorkbenchError

WITHOUT_INFLUENCE = True  # on any result: how it is reported, watched or stopped

# What to install for a tracker, by its name.
PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow"}
TRACKERS = ("", *PACKAGES)
PLACE = "tracking"
_RUN_ID = "mlflow_run.txt"


class Tracker:
    """Curves of the work in ``folder``; a ``kind`` of ``TRACKERS``, of which "" keeps none.

    TensorBoard's files lie in ``folder / "tracking"``; MLflow's do unless its environment variable
    MLFLOW_TRACKING_URI names a server. Work that is resumed after ``step`` steps continues its curves. Use as a
    context manager. Raises WorkbenchError for an unknown kind or a package that is not installed.
    """

    def __init__(self, kind: str, folder: Path, name: str, step: int = 0):
        require_tracker(kind)
        self.folder, self._tracker = Path(folder) / PLACE, None
        if kind:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._tracker = self._tensorboard(name, step) if kind == "tensorboard" else self._mlflow(name)

    def log(self, values: dict, step: int) -> None:
        """Add a point at ``step`` to the curve of every finite number in ``values``, whose keys name the curves."""
        if self._tracker is not None:
            numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
            self._tracker.log({name: value for name, value in numbers.items() if math.isfinite(value)}, step=step)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tracker is not None:
            self._tracker.finish()

    def _tensorboard(self, name: str, step: int):
        from accelerate.tracking import TensorBoardTracker

        # What was logged after the step that work goes on from would be drawn twice.
        tracker = TensorBoardTracker(name, self.folder, purge_step=step + 1)
        return _started(tracker)

    def _mlflow(self, name: str):
        import mlflow
        from accelerate.tracking import MLflowTracker

        if not os.environ.get("MLFLOW_TRACKING_URI"):
            mlflow.set_tracking_uri(f"sqlite:///{self.folder.resolve() / 'mlflow.db'}")
        known = self.folder / _RUN_ID
        run = known.read_text(encoding="utf-8").strip() if known.exists() else None
        artefacts = (self.folder / "artefacts").resolve().as_uri()
        tracker = _started(MLflowTracker(name, artefacts, run_id=run, run_name=name))
        known.write_text(tracker.tracker.info.run_id + "\n", encoding="utf-8")
        return tracker


def require_tracker(kind: str) -> None:
    """WorkbenchError unless ``kind`` is one of ``TRACKERS`` and what it needs is installed."""
    if kind not in TRACKERS:
        raise WorkbenchError(f"tracker {kind!r} is not known; expected one of {', '.join(map(repr, TRACKERS))}.")
    if kind and importlib.util.find_spec(PACKAGES[kind]) is None:
        raise WorkbenchError(
            f'tracker "{kind}" needs a package that is not installed: pip install {PACKAGES[kind]}. Or choose another '
            "tracker; the log in the training's folder is written in any case."
        )


def _started(tracker):
    from accelerate import PartialState

    PartialState()  # accelerate's own messages ask which process they come from
    tracker.main_process_only = False  # the process that writes is chosen by whoever makes the tracker
    tracker.start()
    return tracker
