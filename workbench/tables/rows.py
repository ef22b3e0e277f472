"""The rows of the tables as a grid of tasks: which stages exist, from which inputs, and which rows they are.

``rows.toml`` lists the paper's rows and further ones, whose keys are those of `tables.paper`; own ones are added. Rows
that share a stage share its task, so that it is made once.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_type_hints

from workbench.configuration import as_values, config_class_in, merged
from workbench.errors import WorkbenchError, unknown
from workbench.registry import imported

Job = tuple[int, str]  # seed, key of the task
# What the paper's 20K and 60K of 96K samples are here: shares of the quota.
SAMPLE_SHARES = {"20k": 20 / 96, "60k": 60 / 96}
Source = Literal["diffusion", "baseline"]
DIFFUSION: Source = "diffusion"
ROWS = tomllib.loads(Path(__file__).with_name("rows.toml").read_text(encoding="utf-8"))
BUILDERS: dict[str, tuple[str, str]] = ROWS["builders"]
STARTS: dict[str, str] = ROWS["starts"]
TITLES: dict[str, str] = ROWS["recognisers"]
_DATA = {"features": "features", "text": "text"}


class Outcome(NamedTuple):
    """What became of a job: seconds, the reason of a failure or "", and everything that it printed."""

    seconds: float
    failure: str
    printed: str


@dataclass(frozen=True)
class Task:
    """One stage of the grid: ``inputs`` maps parameters to keys of other tasks, or to "features" or "text"."""

    builder: str
    variant: str
    inputs: Mapping[str, str]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """The stage's name."""
        return BUILDERS[self.builder][0]

    @property
    def key(self) -> str:
        """``stage/variant``, which names the folder too."""
        return f"{self.stage}/{self.variant}"

    @property
    def build(self) -> Callable[..., dict[str, Any]]:
        """The function that builds the stage; imports what it needs."""
        return imported(BUILDERS[self.builder][1], "builder")

    @property
    def config_class(self) -> Any:
        """The dataclass that the builder takes as ``config``."""
        return config_class_in(get_type_hints(self.build)["config"])


@dataclass(frozen=True)
class Row:
    """One row of the tables: a recogniser that is evaluated, and the key of the row that it is compared with.

    ``group`` is its family of methods, one of `style.GROUP_COLOURS`; ``generated`` says whether it saw generated
    features and ``source`` whose; rows of one ``curve`` are joined in the figure.
    """

    key: str
    title: str
    architecture: str
    training: str
    group: str
    generated: bool
    compared_with: str | None = None
    curve: str | None = None
    source: Source | None = None

    @property
    def short_title(self) -> str:
        """The title without the recogniser's name."""
        return self.title.removeprefix(f"{self.architecture}, ")


@dataclass
class Grid:
    """All tasks by key, each after its inputs, and all rows by key.

    The tasks' parameters come from ``settings``, a profile's section ``tables`` (a map per kind of stage).
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)

    def add(self, task: Task) -> str:
        """Add a task once; returns its key."""
        known = self.tasks.setdefault(task.key, task)
        if known != task:
            raise ValueError(f"two different tasks are called {task.key}")
        return task.key

    def needed_for(self, rows: Iterable[str]) -> list[str]:
        """The tasks that these rows need, each after its inputs."""
        needed = {f"evaluation/{row}" for row in rows}
        for key in reversed(self.tasks):
            if key in needed:
                needed.update(self.tasks[key].inputs.values())
        return [key for key in self.tasks if key in needed]

    def triplets(self) -> str:
        """The augmented triplets; returns the task's key, as the others do."""
        return self.add(Task("triplets", "default", _DATA, self._of("triplets")))

    def generated(self, name: str) -> str:
        """Generated features by name: a start (+ _plain without hardness, + _20k, _60k), or a baseline."""
        start, *rest = name.split("_")
        if start not in STARTS:
            chosen = {"generator": name, "options": self._of("baselines").get(name, {})}
            return self.add(Task("baseline", name, {"features": "features", "triplets": self.triplets()}, chosen))
        hardness = "plain" not in rest
        inputs = _DATA | {"triplets": self.triplets()}
        trained = self._of("diffusion") | {"hardness": hardness}
        denoiser = self.add(Task("diffusion", "hardness" if hardness else "plain", inputs, trained))
        sampling = self._of("sampling", f"sampling_{start}") | {"init": STARTS[start]}
        shares = [{"share": SAMPLE_SHARES[part]} for part in rest if part in SAMPLE_SHARES]
        return self.add(Task("generated", name, inputs | {"diffusion": denoiser}, nested(sampling, *shares)))

    def trained(self, architecture: str, training: str, group: str) -> str:
        """A recogniser trained on real features; returns the row's key."""
        chosen = ROWS["trainings"][training]
        scale = {"loss": {"vilhub_scale": self.settings["vilhub_scale"]}} if "vilhub" in chosen else {}
        settings = self._of("training", architecture)
        parameters = nested(settings, {"architecture": architecture}, scale, chosen.get("config", {}))
        against = None if training == "ce" else f"{architecture}_ce"
        task = Task("training", f"{architecture}_{training}", _DATA, parameters)
        return self._row(task, architecture, chosen["title"], training=training, group=group, compared_with=against)

    def finetuned(
        self, base: str, generated: str, title: str, group: str, *, suffix: str = "", curve: str | None = None,
        **options: Any,
    ) -> str:  # fmt: skip
        """A trained row fine-tuned on generated features with its own loss; returns the new row's key."""
        architecture = base.split("_")[0]
        trained = self.tasks[f"recogniser/{base}"]
        own = {"loss": trained.parameters["loss"]} if "loss" in trained.parameters else {}
        inputs = {"recogniser": trained.key, "generated": self.generated(generated), "features": "features"}
        if options.get("curriculum"):
            inputs |= {"triplets": self.triplets()}
        tuned = self._of("finetuning", f"{architecture}_finetuning")
        source: Source | None = "diffusion" if generated.split("_")[0] in STARTS else "baseline"
        real_alone = options.get("real_replay") == 1.0
        key = "_".join(filter(None, [base, generated, suffix]))
        return self._row(
            Task("finetuning", key, inputs, nested(tuned, own, options)), architecture, title,
            training=self.rows[base].training, group=group, generated=not real_alone, compared_with=base, curve=curve,
            source=None if real_alone else source,
        )  # fmt: skip

    def rebalanced(self, base: str, method: str, title: str, group: str) -> str:
        """A trained row re-balanced without generated features; returns the new row's key."""
        row = self.rows[base]
        settings = self._of("rebalancing", f"rebalancing_{method}") | {"method": method}
        inputs = {"recogniser": f"recogniser/{base}", "features": "features"}
        return self._row(
            Task("rebalancing", f"{base}_{method}", inputs, settings), base.split("_")[0], title,
            training=row.training, group=group, generated=row.generated, compared_with=base, source=row.source,
        )  # fmt: skip

    def _row(self, task: Task, architecture: str, title: str, generated: bool = False, **rest: Any) -> str:
        inputs = {"recogniser": self.add(task), "features": "features"}
        key = task.variant
        self.add(Task("evaluation", key, inputs))
        named = TITLES[architecture]
        self.rows[key] = Row(key, f"{named}, {title}", named, generated=generated, **rest)
        return key

    def _of(self, *kinds: str) -> dict[str, Any]:
        return nested(*(self.settings.get(kind) or {} for kind in kinds))


def nested(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings laid over each other, a map within them too."""
    laid: dict[str, Any] = {}
    for each in settings:
        for name, value in each.items():
            inner = isinstance(value, Mapping) and isinstance(laid.get(name), Mapping)
            laid[name] = nested(laid[name], value) if inner else value
    return laid


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

    ``changes`` maps a kind of stage (a key of `BUILDERS`) to fields of its config, nested ones as dicts:
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
