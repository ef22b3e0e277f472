"""The first look: every file that notebooks or rows of tables name is opened before the first stage starts."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workbench.looks import FirstLook
from workbench.paths import imported_folder, project_root, runs_folder
from workbench.runs.profiles import Plan

Named = Iterable[tuple[str, Any, Any]]  # place, type, value


def look_at_plan(plan: Plan, root: Path | None = None, may_be_absent: bool = False) -> None:
    """Look at the files of a plan's notebooks; WorkbenchError with notebook and parameter for the first that is wrong.

    Word vectors are read once where the names of the data are known: seconds for a GloVe file, half a minute for
    GoogleNews. Where files ``may_be_absent``, the missing ones are told on standard error.
    """
    root = project_root(root)
    named = [
        (f"{notebook.name}: {name}", parameter.kind, parameter.checked(notebook.values[name], name))
        for notebook in plan.notebooks
        for name, parameter in notebook.declared.items()
    ]
    given = {name: value for notebook in plan.notebooks for name, value in notebook.values.items()}
    folders = [imported_folder(root) / plan.data] if plan.data else []
    folders += [root / given["annotations_folder"]] if given.get("annotations_folder") else []
    look_at_named(named, [*folders, runs_folder(root) / plan.run / "features" / "default"], root, may_be_absent)


def look_at_named(named: Named, folders: list[Path], root: Path, may_be_absent: bool = False) -> None:
    """Look at what is ``named``; the names of classes come from the first of ``folders`` that has them."""
    from workbench.scenes.vocabulary import OBJECTS_FILE, Vocabulary

    known = next((folder for folder in folders if (folder / OBJECTS_FILE).is_file()), None)
    look = FirstLook(root, Vocabulary.read(known) if known else None, [] if may_be_absent else None)
    for place, kind, value in named:
        look.at(kind, value, place)
    for missing in look.absent or []:
        print(f"not here yet, {missing}", file=sys.stderr)
