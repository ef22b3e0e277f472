"""The results of all systems over several seeds, as ``tables.json`` holds them, and their paired differences."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.figures.results import LOSS_TITLES
from workbench.figures.style import GROUP_COLOURS
from workbench.files import read_json
from workbench.tables.intervals import interval, paired_interval
from workbench.tables.paper import LSVRU, RELTRANSFORMER
from workbench.tables.records import (
    REMEDY,
    accuracies,
    by_seed,
    field,
    optional_text,
    reason,
    validation_combined,
)

NOT_RUN, FAILED, STALE = "not run", "failed", "made with other settings"
DIFFUSION, RIVAL = SOURCES = ("diffusion", "rival")
# What other generators than the diffusion model are called in keys of systems.
RIVALS = ("copy_noise", "class_gaussian", "smote", "pair_mean", "triple_mean")
ARCHITECTURES = {name.lower(): name for name in (LSVRU, RELTRANSFORMER)}
_STARTS = {"subject-object": "so", "random": "random"}


@dataclass(frozen=True)
class System:
    """A recogniser with its training: ``values`` on test by seed and value name in percent, or why seeds lack them.

    ``generated`` says whether it saw generated features and ``source`` whose ("diffusion" or "rival"); ``baseline`` is
    the key of the system that it changes. ``validation`` is Combined on the validation split, exact match, percent, of
    the seeds that have values. ``failed`` and ``stale`` (made with other settings) are reasons by seed.
    """

    key: str
    title: str
    architecture: str
    training: str
    group: str
    generated: bool
    baseline: str | None
    curve: str | None
    source: str | None
    values: dict[int, dict[str, float | None]]
    validation: dict[int, float]
    failed: dict[int, str]
    stale: dict[int, str]

    def numbers(self, name: str) -> dict[int, float]:
        """The number called ``name`` ("<metric> <role> <band>", percent) of each seed that has it."""
        found = {seed: values.get(name) for seed, values in sorted(self.values.items())}
        return {seed: value for seed, value in found.items() if value is not None}


@dataclass(frozen=True)
class TableResults:
    """All systems of one profile, in the order of the file, each measured under ``seeds``."""

    profile: str
    seeds: tuple[int, ...]
    systems: dict[str, System]

    def summary(self) -> str:
        """What is there, in one line."""
        measured = sum(bool(system.values) for system in self.systems.values())
        profile = f"profile {self.profile}, " if self.profile else ""
        seeds = "one seed" if len(self.seeds) == 1 else f"seeds {', '.join(map(str, self.seeds))}"
        return f"{profile}{measured} of {len(self.systems)} systems measured, {seeds}"

    def gap(self, key: str) -> str:
        """Why ``key`` has no number: "not run" or what `missing` says; "" where it has one."""
        if key in self.systems and self.systems[key].values:
            return ""
        return self.missing(key) or NOT_RUN

    def missing(self, key: str) -> str:
        """Why seeds of a system have no values: "failed: ...; made with other settings: ...", "" without a reason."""
        if key not in self.systems:
            return ""
        told = ((FAILED, self.systems[key].failed), (STALE, self.systems[key].stale))
        return "; ".join(f"{word}: {_listed(reasons)}" for word, reasons in told if reasons)

    def level(self, key: str, name: str) -> dict[str, Any] | None:
        """`interval` over the seeds of a system's number, percent; None where no seed has it."""
        numbers = self.systems[key].numbers(name) if key in self.systems else {}
        return interval(list(numbers.values())) if numbers else None

    def difference(self, later: str, earlier: str, name: str) -> dict[str, Any] | None:
        """`paired_interval` of later minus earlier, percentage points; None where no seed has both."""
        if later not in self.systems or earlier not in self.systems:
            return None
        return paired_interval(self.systems[later].numbers(name), self.systems[earlier].numbers(name))


def _listed(reasons: dict[int, str]) -> str:
    return "; ".join(dict.fromkeys(reasons[seed] for seed in sorted(reasons)))


def read_tables(path: Path) -> TableResults:
    """The results in ``path``; WorkbenchError with file and key where it is missing or damaged."""
    return checked_results(read_json(path), str(path))


def checked_results(record: Any, place: str) -> TableResults:
    """The results in the decoded ``record``; ``place`` names it in errors."""
    profile = field(record, "profile", str, place)
    seeds = field(record, "seeds", list, place)
    if not seeds or any(type(seed) is not int for seed in seeds) or len(set(seeds)) != len(seeds):
        raise WorkbenchError(f"{place}: seeds {seeds!r}; expected different integers, at least one. {REMEDY}")
    systems = field(record, "systems", dict, place)
    if not systems:
        raise WorkbenchError(f"{place}: systems is empty; expected one or more. {REMEDY}")
    checked = {key: _system(key, entry, seeds, f"{place}: systems.{key}") for key, entry in systems.items()}
    return TableResults(profile, tuple(seeds), checked)


def _system(key: str, entry: Any, seeds: list[int], place: str) -> System:
    texts = {name: field(entry, name, str, place) for name in ("title", "architecture", "training", "group")}
    # Older files name the architecture by its key.
    texts["architecture"] = ARCHITECTURES.get(texts["architecture"], texts["architecture"])
    if texts["group"] not in GROUP_COLOURS:
        raise WorkbenchError(f"{place}.group: {texts['group']!r}; expected one of {', '.join(GROUP_COLOURS)}. {REMEDY}")
    optional = {name: optional_text(entry, name, place) for name in ("baseline", "curve")}
    generated = field(entry, "generated", bool, place)
    read = partial(by_seed, {"validation": {}, "stale": {}} | entry, seeds=seeds, place=place)
    values, validation = read("values", accuracies), read("validation", validation_combined)
    failed, stale = read("failed", reason), read("stale", _stale_reason)
    if contradicted := sorted(values.keys() & stale.keys()):
        raise WorkbenchError(f"{place}.stale: seeds {contradicted} have values too; expected none. {REMEDY}")
    validation = {seed: value for seed, value in validation.items() if seed in values and value is not None}
    return System(key=key, generated=generated, source=_source(entry, key, generated, place), values=values,
                  validation=validation, failed=failed, stale=stale, **texts, **optional)  # fmt: skip


def _stale_reason(words: Any, place: str) -> str:
    return reason(words, place).removeprefix(f"{STALE}: ")


def _source(entry: Mapping[str, Any], key: str, generated: bool, place: str) -> str | None:
    """Whose generated features a system saw; its key tells it where the record does not."""
    source = optional_text(entry, "source", place)
    if source not in (None, *SOURCES):
        raise WorkbenchError(f"{place}.source: {source!r}; expected one of {', '.join(SOURCES)}, or null. {REMEDY}")
    if source is None and generated:
        return RIVAL if any(name in key for name in RIVALS) else DIFFUSION
    return source


def of_run(
    metrics: Mapping[str, Any],
    start: str,
    seed: int,
    *,
    hardness: bool = True,
    curriculum: bool = False,
    profile: str = "",
) -> TableResults:
    """One run's recognisers as results of one seed, from what notebook 05 saved; without validation numbers.

    ``start`` is where sampling began, ``hardness`` says whether the diffusion model knew it and ``curriculum`` whether
    easy rows came first: they tell which of the paper's systems the fine-tuned recogniser is. ``metrics`` may name the
    ``architecture``, a key of `ARCHITECTURES`; without it the recognisers are LSVRU.
    """
    place = "metrics of 05_finetune_and_evaluate"
    baseline, variants = field(metrics, "baseline", str, place), field(metrics, "variants", dict, place)
    if baseline not in variants:
        raise WorkbenchError(f"{place}: no variant {baseline!r}; there are {sorted(variants)}. Run notebook 05 again.")
    architecture = optional_text(metrics, "architecture", place) or LSVRU.lower()
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise WorkbenchError(f"{place}: architecture {architecture!r}; expected one of {known}. Run notebook 05 again.")
    parts = (_STARTS.get(start) or _slug(start), "" if hardness else "plain", "curriculum" if curriculum else "")
    enhancements = "_".join(filter(None, parts))
    keys = {title: f"{architecture}_{_variant(title, baseline, enhancements)}" for title in variants}
    systems = {
        keys[title]: {
            "title": f"{ARCHITECTURES[architecture]}, {title}", "architecture": architecture, "training": title,
            "group": _group_of_variant(title), "generated": "DiffAugment" in title,
            "baseline": None if title == baseline else keys[baseline], "values": {str(seed): values}, "failed": {},
        }
        for title, values in variants.items()
    }  # fmt: skip
    return checked_results({"profile": profile, "seeds": [seed], "systems": systems}, place)


def _variant(title: str, baseline: str, enhancements: str) -> str:
    """A system's key without its architecture, for example "ce_so" or "ce_vilhub_relmix"."""
    losses = {loss_title: loss for loss, loss_title in LOSS_TITLES.items()}
    method = f"{baseline} + DiffAugment"
    if not title.startswith(method):
        return losses.get(title) or _slug(title)
    rest = _slug(title.removeprefix(method))
    return "_".join(filter(None, (losses.get(baseline) or _slug(baseline), enhancements, rest)))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _group_of_variant(title: str) -> str:
    if "real replay" in title:
        return "kept head"
    if title in (LOSS_TITLES["ce"], LOSS_TITLES["wce"]) or "DiffAugment" in title:
        return "paper"
    adjusted = title == LOSS_TITLES["logit_adjusted"] or title.endswith("logits adjusted afterwards")
    return "logit adjustment" if adjusted else "loss"
