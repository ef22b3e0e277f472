"""What every notebook does first: say in one line what it runs on, and find the lists of triplets that it was given."""

import platform
from pathlib import Path

import workbench
from workbench.errors import WorkbenchError
from workbench.paths import lists_folder
from workbench.scenes.annotations import SPLITS
from workbench.scenes.relations import RelationTables
from workbench.stages import Run, Stage


def opening_line(run: Run) -> str:
    """Versions, device, run folder and data in one line."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    data = f", data {run.data!r}" if run.data else ""
    return (
        f"workbench {workbench.__version__}, Python {platform.python_version()}, torch {torch.__version__} "
        f"on {device}; run {run.name!r} in {run.folder.relative_to(run.root)}{data}"
    )


def features_of(run: Run, data: str) -> Stage:
    """As ``run.features``, of other data where a name is given."""
    return run.imported(data) if data else run.features


def tables_of(features: Stage) -> dict[str, RelationTables]:
    """The tables of each split that ``features`` has, train first; its features are not opened."""
    return {split: RelationTables.open(features / split) for split in SPLITS if (features / split).is_dir()}


def text_of(run: Run, data: str) -> Stage | Path:
    """As ``run.text``, of other data where a name is given."""
    return run.imported(data) / "text" if data else run.text


def pictures_of(run: Run, data: str, image_folder: str = "") -> Path | None:
    """As ``run.images``, of other data or another folder where one is given."""
    return Run(run.name, run.root, data or run.data, image_folder or run.image_folder).images


def chosen_lists(run: Run, *, include: str = "", exclude: str = "") -> dict[str, Path]:
    """The lists of triplets that are named, for the stage ``triplets``; nothing is in the result for an empty name.

    A list is a name under ``data/lists`` (what the TripletBrowser saves) or the path of a CSV file.
    """
    named = {"include": include, "exclude": exclude}
    return {parameter: _list_path(run, parameter, name) for parameter, name in named.items() if name}


def _list_path(run: Run, parameter: str, name: str) -> Path:
    folder = lists_folder(run.root)
    path = run.path(name) if name.endswith(".csv") else folder / f"{name}.csv"
    if not path.is_file():
        have = ", ".join(sorted(found.stem for found in folder.glob("[!.]*.csv"))) or "none"
        raise WorkbenchError(
            f"parameter {parameter}={name!r}: there is no list {path} (saved lists: {have}). "
            "Save one in the TripletBrowser, or give the path of a CSV file with subject,relation,object."
        )
    return path


def from_project(run: Run, path: str) -> Path:
    """As ``run.path``."""
    return run.path(path)
