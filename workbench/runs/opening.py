"""What every notebook does first: find its inputs, and say in one line what it runs on."""

import platform
from pathlib import Path

import workbench
from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.paths import lists_folder
from workbench.scenes.annotations import SPLITS
from workbench.scenes.relations import RelationTables
from workbench.stages import Run, Stage

SOURCE_FILE = "source.json"


def opening_line(run: Run) -> str:
    """Versions, device and run folder in one line."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    return (
        f"workbench {workbench.__version__}, Python {platform.python_version()}, torch {torch.__version__} "
        f"on {device}; run {run.name!r} in {run.folder.relative_to(run.root)}"
    )


def features_of(run: Run, data: str) -> Stage:
    """The features imported, or the data set added, under ``data``; where that is empty, the run's own features."""
    return run.imported(data) if data else run.find("features")


def tables_of(features: Stage) -> dict[str, RelationTables]:
    """The tables of each split that ``features`` has, train first; its features are not opened."""
    return {split: RelationTables.open(features / split) for split in SPLITS if (features / split).is_dir()}


def text_of(run: Run, data: str) -> Stage | Path:
    """The text folder that belongs to `features_of`."""
    return run.imported(data) / "text" if data else run.find("text")


def pictures_of(run: Run, data: str, image_folder: str = "") -> Path | None:
    """The folder of the pictures; None where there are none."""
    if image_folder:
        return from_project(run, image_folder)
    if not data:
        return run.find("scenes") / "images"
    source = run.imported(data) / SOURCE_FILE
    found = read_json(source).get("images") if source.is_file() else None
    return Path(found) if found else None


def chosen_lists(run: Run, *, include: str = "", exclude: str = "") -> dict[str, Path]:
    """The lists of triplets that are named, for the stage ``triplets``; nothing is in the result for an empty name.

    A list is a name under ``data/lists`` (what the TripletBrowser saves) or the path of a CSV file.
    """
    named = {"include": include, "exclude": exclude}
    return {parameter: _list_path(run, parameter, name) for parameter, name in named.items() if name}


def _list_path(run: Run, parameter: str, name: str) -> Path:
    folder = lists_folder(run.root)
    path = from_project(run, name) if name.endswith(".csv") else folder / f"{name}.csv"
    if not path.is_file():
        have = ", ".join(sorted(found.stem for found in folder.glob("[!.]*.csv"))) or "none"
        raise WorkbenchError(
            f"parameter {parameter}={name!r}: there is no list {path} (saved lists: {have}). "
            "Save one in the TripletBrowser, or give the path of a CSV file with subject,relation,object."
        )
    return path


def from_project(run: Run, path: str) -> Path:
    """A path as a parameter gives it: relative ones start at the project's folder, wherever the kernel runs."""
    return run.root / Path(path).expanduser()
