"""The grid behind the paper's tables: which stages exist, from which inputs, and which rows they are.

Rows that share a stage share its task, so that it is made once. Keys of rows are those of `tables.paper`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_type_hints

from workbench.configuration import config_class_in
from workbench.registry import imported

Job = tuple[int, str]  # seed, key of the task
BUILDERS = {
    "triplets": "workbench.language.triplets:write_triplets",
    "diffusion": "workbench.diffusion.train:train_diffusion",
    "generated": "workbench.diffusion.sample:generate_features",
    "baseline": "workbench.diffusion.generators:generate_baseline",
    "training": "workbench.recognition.training:train_recogniser",
    "finetuning": "workbench.recognition.finetuning:finetune_recogniser",
    "rebalancing": "workbench.recognition.rebalancing:rebalance_recogniser",
    "evaluation": "workbench.recognition.evaluation:evaluate_recogniser",
}
STAGE_OF_BUILDER = {"baseline": "generated", "training": "recogniser", "finetuning": "recogniser",
                    "rebalancing": "recogniser"}  # fmt: skip
# What the paper's 20K and 60K of 96K samples are here: shares of the quota.
SAMPLE_SHARES = {"20k": 20 / 96, "60k": 60 / 96}
# Names of generated features by where sampling starts; "_plain" after them is without hardness.
STARTS = {"random": "random", "so": "subject-object", "sro": "subject-relation-object"}
DIFFUSION: Literal["diffusion"] = "diffusion"
BASELINE: Literal["baseline"] = "baseline"
TITLES = {"lsvru": "LSVRU", "reltransformer": "RelTransformer"}
TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    "ce": ("CE", {}),
    "wce": ("WCE", {"loss": {"name": "wce"}}),
    "ce_vilhub_relmix": ("CE + VilHub + RelMix", {"loss": {"vilhub_scale": None, "relmix": "clean"}}),
    "ce_vilhub": ("CE + VilHub", {"loss": {"vilhub_scale": None}}),
    "ce_relmix": ("CE + RelMix", {"loss": {"relmix": "clean"}}),
    "focal": ("Focal", {"loss": {"name": "focal"}}),
    "equalization": ("Equalization loss", {"loss": {"name": "equalization"}}),
    "equalization_upstream": ("Equalization loss as upstream codes it", {"loss": {"name": "equalization_upstream"}}),
    "logit_adjusted": ("Logit-adjusted CE", {"loss": {"name": "logit_adjusted"}}),
    "linear_ce": ("CE, linear classifier", {"sizes": {"classifier": "linear"}}),
}


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
        return STAGE_OF_BUILDER.get(self.builder, self.builder)

    @property
    def key(self) -> str:
        """``stage/variant``, which names the folder too."""
        return f"{self.stage}/{self.variant}"


def builder_of(task: Task) -> Callable[..., dict[str, Any]]:
    """The function that builds a task's stage; imports what it needs."""
    return imported(BUILDERS[task.builder], "builder")


def config_class_of(task: Task) -> Any:
    """The dataclass that the task's builder takes as ``config``."""
    return config_class_in(get_type_hints(builder_of(task))["config"])


@dataclass(frozen=True)
class Row:
    """One row of the tables: a recogniser that is evaluated, and the key of the row that it is compared with.

    ``group`` is its family of methods, one of `style.GROUP_COLOURS`; ``generated`` says whether it saw generated
    features and ``source`` whose: `DIFFUSION`'s or a `BASELINE`'s; rows of one ``curve`` are joined in the figure.
    """

    key: str
    title: str
    architecture: str
    training: str
    group: str
    generated: bool
    compared_with: str | None = None
    curve: str | None = None
    source: Literal["diffusion", "baseline"] | None = None


@dataclass
class Grid:
    """All tasks by key, each after its inputs, and all rows by key."""

    tasks: dict[str, Task] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)

    def add(self, task: Task) -> str:
        """Add a task once; returns its key."""
        known = self.tasks.setdefault(task.key, task)
        if known != task:
            raise ValueError(f"two different tasks are called {task.key}")
        return task.key

    def needed_for(self, rows: Iterable[str]) -> Iterator[str]:
        """The tasks that these rows need, each after its inputs."""
        seen: set[str] = set()

        def visit(key: str) -> Iterator[str]:
            if key in seen or key not in self.tasks:
                return
            seen.add(key)
            for other in self.tasks[key].inputs.values():
                yield from visit(other)
            yield key

        for row in rows:
            yield from visit(f"evaluation/{row}")


class GridBuilder:
    """Builds a grid from the settings of a profile's section ``tables`` (a map per kind of stage)."""

    def __init__(self, settings: Mapping[str, Any]):
        self.settings, self.grid = settings, Grid()
        self.triplets = self.grid.add(Task("triplets", "default", _DATA, self._of("triplets")))

    def diffusion(self, hardness: bool) -> str:
        """The denoiser with or without the hardness condition."""
        variant = "hardness" if hardness else "plain"
        return self.grid.add(
            Task("diffusion", variant, _DATA | {"triplets": self.triplets},
                 self._of("diffusion") | {"hardness": hardness})
        )  # fmt: skip

    def generated(self, name: str) -> str:
        """Generated features by name: a start (+ _plain without hardness, + _20k, _60k), or a baseline."""
        start, *rest = name.split("_")
        if start not in STARTS:
            return self.grid.add(
                Task("baseline", name, {"features": "features", "triplets": self.triplets},
                     {"generator": name, "options": self._of("baselines").get(name, {})})
            )  # fmt: skip
        shares = [{"share": SAMPLE_SHARES[part]} for part in rest if part in SAMPLE_SHARES]
        started = {"init": STARTS[start]}
        inputs = _DATA | {"triplets": self.triplets, "diffusion": self.diffusion("plain" not in rest)}
        sampling = self._of("sampling") | self._of(f"sampling_{start}")
        return self.grid.add(Task("generated", name, inputs, sampling | started | (shares[0] if shares else {})))

    def trained(self, architecture: str, training: str, group: str) -> str:
        """A recogniser trained on real features; returns the row's key."""
        title, changes = TRAININGS[training]
        loss = {name: self.settings[name] if value is None else value
                for name, value in changes.get("loss", {}).items()}  # fmt: skip
        parameters = nested(self._of("training"), self._of(architecture), {"architecture": architecture}, changes)
        parameters = nested(parameters, {"loss": loss} if loss else {})
        return self._row(
            Task("training", f"{architecture}_{training}", _DATA, parameters),
            title, architecture, training, group, generated=False,
            compared_with=None if training == "ce" else f"{architecture}_ce",
        )  # fmt: skip

    def finetuned(
        self, base: str, generated: str, title: str, group: str, *, suffix: str = "", curve: str | None = None,
        **options: Any,
    ) -> str:  # fmt: skip
        """A trained row fine-tuned on generated features with its own loss; returns the new row's key."""
        row = self.grid.rows[base]
        own = {name: value for name, value in self.grid.tasks[f"recogniser/{base}"].parameters.items()
               if name == "loss"}  # fmt: skip
        inputs = {"recogniser": f"recogniser/{base}", "generated": self.generated(generated), "features": "features"}
        if options.get("curriculum"):
            inputs |= {"triplets": self.triplets}
        key = "_".join(filter(None, [base, generated, suffix]))
        architecture = base.split("_")[0]
        tuned = self._of("finetuning") | self._of(f"{architecture}_finetuning")
        return self._row(
            Task("finetuning", key, inputs, nested(tuned, own, options)),
            title, architecture, row.training, group, generated=options.get("real_replay") != 1.0,
            compared_with=base, curve=curve, source=_source(generated, options),
        )  # fmt: skip

    def rebalanced(self, base: str, method: str, title: str, group: str) -> str:
        """A trained row re-balanced without generated features; returns the new row's key."""
        row = self.grid.rows[base]
        settings = self._of("rebalancing") | self._of(f"rebalancing_{method}")
        inputs = {"recogniser": f"recogniser/{base}", "features": "features"}
        return self._row(
            Task("rebalancing", f"{base}_{method}", inputs, settings | {"method": method}),
            title, base.split("_")[0], row.training, group, generated=row.generated, compared_with=base,
            source=row.source,
        )  # fmt: skip

    def _row(self, task: Task, title: str, architecture: str, training: str, group: str, **rest: Any) -> str:
        recogniser = self.grid.add(task)
        self.grid.add(Task("evaluation", task.variant, {"recogniser": recogniser, "features": "features"}))
        named = TITLES[architecture]
        self.grid.rows[task.variant] = Row(task.variant, f"{named}, {title}", named, training, group, **rest)
        return task.variant

    def _of(self, kind: str) -> dict[str, Any]:
        return dict(self.settings.get(kind) or {})


def nested(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings laid over each other, a map within them too."""
    laid: dict[str, Any] = {}
    for each in settings:
        for name, value in each.items():
            inner = isinstance(value, Mapping) and isinstance(laid.get(name), Mapping)
            laid[name] = nested(laid[name], value) if inner else value
    return laid


_DATA = {"features": "features", "text": "text"}


def _source(generated: str, options: Mapping[str, Any]) -> Literal["diffusion", "baseline"] | None:
    if options.get("real_replay") == 1.0:
        return None
    return DIFFUSION if generated.split("_")[0] in STARTS else BASELINE
