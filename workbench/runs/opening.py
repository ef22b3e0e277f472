"""What notebooks did first before a run knew its data; see `workbench.stages.Run`."""

from pathlib import Path

from workbench.stages import Run, Stage


def opening_line(run: Run) -> str:
    """As ``run.opening_line()``."""
    return run.opening_line()


def features_of(run: Run, data: str) -> Stage:
    """As ``run.features``, of other data where a name is given."""
    return run.imported(data) if data else run.features


def text_of(run: Run, data: str) -> Stage | Path:
    """As ``run.text``, of other data where a name is given."""
    return run.imported(data) / "text" if data else run.text


def pictures_of(run: Run, data: str, image_folder: str = "") -> Path | None:
    """As ``run.images``, of other data or another folder where one is given."""
    return Run(run.name, run.root, data or run.data, image_folder or run.image_folder).images


def from_project(run: Run, path: str) -> Path:
    """As ``run.path``."""
    return run.path(path)
