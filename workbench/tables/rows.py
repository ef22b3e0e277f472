"""The rows of the tables as a grid of tasks: the paper's and further ones, which ``rows.toml`` lists, and own ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbench.configuration import as_values, merged
from workbench.errors import WorkbenchError, unknown
from workbench.registry import imported
from workbench.tables.grid import ROWS, Grid, Task, nested


def all_rows(settings: Mapping[str, Any]) -> Grid:
    """A grid with all rows for the ``architectures`` of the settings: the paper's, then the extended ones."""
    grid = Grid(settings)
    architectures = settings.get("architectures") or list(ROWS["paper"])
    for rows in (ROWS["paper"], ROWS["extended"]):
        for architecture in architectures:
            for row in rows.get(architecture, ()):
                _add_row(grid, architecture, **row)
    return grid


def _add_row(grid: Grid, architecture: str, group: str, title: str = "", **row: Any) -> None:
    """Add a row as ``rows.toml`` describes it."""
    if "trained" in row:
        grid.trained(architecture, row["trained"], group)
        return
    start = grid.settings["start"]
    base = f"{architecture}_{row.get('finetuned') or row['rebalanced']}".format(start=start)
    title = title.format(base=grid.rows[base].short_title)
    if "rebalanced" in row:
        grid.rebalanced(base, row["method"], title, group)
        return
    options = row.get("options", {})
    if "combined" in row:
        # How rows are mixed was chosen on validation (settings); the loss knows the prior of the batches.
        options = {"loss": {"name": "logit_adjusted"}, "prior": "batches", **(grid.settings.get("combined") or {})}
        options |= {"real_replay": row["combined"]}
    curve = row["curve"].format(key=base) if "curve" in row else None
    generated = row["generated"].format(start=start)
    grid.finetuned(base, generated, title, group, suffix=row.get("suffix", ""), curve=curve, **options)


@dataclass(frozen=True)
class OwnRow:
    """A row like the row called ``like``, which it is compared with, but for some fields of some stages.

    ``changes`` maps a kind of stage (a key of `grid.BUILDERS`) to fields of its config, nested ones as dicts:
    ``{"diffusion": {"denoiser": "mine:PLAIN"}}``. Code is given as "module:name", a class or function also as itself.
    """

    title: str
    like: str
    changes: Mapping[str, Mapping[str, Any]]


def add_own_row(grid: Grid, path: str) -> str:
    """Add what ``module:name`` names: an `OwnRow`, or a function of the grid that returns one or a row's key.

    Returns the key, ``<like>+<name>`` for an `OwnRow`.
    """
    found = imported(path, "row")
    found = found if isinstance(found, OwnRow) else found(grid)
    if isinstance(found, OwnRow):
        return _add_like(grid, found, path.rpartition(":")[2].replace(".", "_"))
    if found not in grid.rows:
        raise WorkbenchError(f"row {path}: gave {found!r}; expected an OwnRow, or the key of a row that it added.")
    return found


def _add_like(grid: Grid, own: OwnRow, name: str) -> str:
    if own.like not in grid.rows:
        raise WorkbenchError(f"row {name}, like: {unknown('row', own.like, grid.rows)}")
    changes = {kind: as_values(fields) for kind, fields in own.changes.items()}
    if "loss" in changes.get("training", {}):  # a row is fine-tuned with the loss of its training
        changes["finetuning"] = nested({"loss": changes["training"]["loss"]}, changes.get("finetuning", {}))
    behind = [grid.tasks[key] for key in grid.needed_for([own.like])]
    kinds = dict.fromkeys(task.builder for task in behind)
    for kind in own.changes:
        if kind not in kinds:
            raise WorkbenchError(f"row {name}, changes: {unknown('kind of stage', kind, kinds)}")
    renamed: dict[str, str] = {}
    for task in behind:
        inputs = {parameter: renamed.get(key, key) for parameter, key in task.inputs.items()}
        place = f"row {name}, changes: {task.builder}"
        parameters = merged(task.config_class, task.parameters, changes.get(task.builder, {}), place)
        if inputs != dict(task.inputs) or parameters != task.parameters:
            renamed[task.key] = grid.add(Task(task.builder, f"{task.variant}+{name}", inputs, parameters))
    if not renamed:
        raise WorkbenchError(f"row {name}: its changes change nothing of {own.like}.")
    key, like = f"{own.like}+{name}", grid.rows[own.like]
    title = f"{like.architecture}, {own.title}"
    grid.rows[key] = replace(like, key=key, title=title, group="own", compared_with=own.like, curve=None)
    return key
