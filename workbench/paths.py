"""Where things are: the project's root and its folders, the same for every working directory."""

import os
import re
from functools import partial
from pathlib import Path

from workbench.errors import WorkbenchError

HOME_VARIABLE = "WORKBENCH_HOME"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def project_root(root: Path | None = None) -> Path:
    """The folder that holds ``notebooks/``, ``data/`` and ``reports/``.

    ``root`` where given, else ``WORKBENCH_HOME``, else the folder above the package. The current directory
    plays no part: papermill, nbval and JupyterLab each start a kernel in a different one.
    """
    if root is not None:
        return Path(root).resolve()
    if home := os.environ.get(HOME_VARIABLE):
        folder = Path(home).expanduser().resolve()
        if not folder.is_dir():
            raise WorkbenchError(f"{HOME_VARIABLE}={home}: there is no such folder. Create it or unset the variable.")
        return folder
    above = Path(__file__).resolve().parents[1]
    if (above / "notebooks").is_dir():
        return above
    what = f"{above}: no notebooks/ folder beside the package, so the project's root is unknown"
    raise WorkbenchError(f"{what}. Set {HOME_VARIABLE} to the folder that holds notebooks/.")


def project_folder(name: str, root: Path | None = None) -> Path:
    """A folder below `project_root`."""
    return project_root(root) / name


notebooks_folder = partial(project_folder, "notebooks")  # the source notebooks
runs_folder = partial(project_folder, "data/runs")  # one folder of artefacts a run
imported_folder = partial(project_folder, "data/imported")  # one feature folder an import
lists_folder = partial(project_folder, "data/lists")  # lists of triplets that people saved: `scenes.vocabulary`
reports_folder = partial(project_folder, "reports")  # one folder of executed notebooks and pages a run


def list_file(root: Path, name: str) -> Path:
    """The list of triplets that a parameter names: saved under ``name``, or the path of a CSV file."""
    return root / Path(name).expanduser() if name.endswith(".csv") else lists_folder(root) / f"{name}.csv"


def lost_link(folder: Path) -> str:
    """What is wrong with a link that leads nowhere, "" for all else."""
    lost = folder.is_symlink() and not folder.exists()
    return f"{folder} is a link to {folder.readlink()}, which is gone" if lost else ""


def checked_name(kind: str, name: str) -> str:
    """``name`` if it can be a folder's name; ``kind`` says in the error what it names."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        what = f"{kind} name {name!r}: use letters, digits, '-', '_', '+' and '.'"
        raise WorkbenchError(f"{what}, beginning with a letter or digit.")
    return name
