"""What every notebook does first: find its inputs, and say in one line what it runs on."""

import platform
from pathlib import Path

import workbench
from workbench.runs.artefacts import Run, Stage


def opening_line(run: Run) -> str:
    """Versions, device and run folder in one line."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    return (
        f"workbench {workbench.__version__}, Python {platform.python_version()}, torch {torch.__version__} "
        f"on {device}; run {run.name!r} in {run.folder.relative_to(run.root)}"
    )


def features_of(run: Run, data: str) -> Stage:
    """The features folder: imported under ``data``, or, where that is empty, made by the run itself."""
    return run.imported(data) if data else run.find("features")


def text_of(run: Run, data: str) -> Stage | Path:
    """The text folder that belongs to `features_of`."""
    return run.imported(data) / "text" if data else run.find("text")


def pictures_of(run: Run, data: str, image_folder: str = "") -> Path | None:
    """The folder of the pictures; None where only features were imported."""
    if image_folder:
        return from_project(run, image_folder)
    return None if data else run.find("scenes") / "images"


def from_project(run: Run, path: str) -> Path:
    """A path as a parameter gives it: relative ones start at the project's folder, wherever the kernel runs."""
    return run.root / Path(path).expanduser()
