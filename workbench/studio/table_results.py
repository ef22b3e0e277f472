"""The results of all systems over several seeds, as ``tables.json`` holds them, and their paired differences."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.recognition.accuracy import METRICS, SUMMARY_ROLES
from workbench.scenes.bands import BANDS
from workbench.studio.comparison import LOSS_TITLES
from workbench.studio.intervals import interval, paired_interval
from workbench.studio.palette import GROUP_COLOURS

VALUE_NAMES = frozenset(
    f"{metric} {role} {band}" for metric in METRICS for role in SUMMARY_ROLES for band in (*BANDS, "all")
)
NOT_RUN = "not run"
_REMEDY = "Run: make tables."


@dataclass(frozen=True)
class System:
    """A recogniser with its training: ``values`` by seed and value name in percent, ``failed`` reasons by seed.

    ``generated`` says whether it saw generated features; ``baseline`` is the key of the system that it changes.
    """

    key: str
    title: str
    architecture: str
    training: str
    group: str
    generated: bool
    baseline: str | None
    curve: str | None
    note: str | None
    values: dict[int, dict[str, float | None]]
    failed: dict[int, str]

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
        """Why ``key`` has no number: "not run" or "failed: reason"; "" where it has one."""
        system = self.systems.get(key)
        if system is None or not (system.values or system.failed):
            return NOT_RUN
        return "" if system.values else f"failed: {self.failures(key)}"

    def failures(self, key: str) -> str:
        """The reasons of a system's failed seeds in words, each once; "" where none failed."""
        failed = self.systems[key].failed if key in self.systems else {}
        return "; ".join(dict.fromkeys(failed[seed] for seed in sorted(failed)))

    def level(self, key: str, name: str) -> dict[str, Any] | None:
        """`interval` over the seeds of a system's number, percent; None where no seed has it."""
        numbers = self.systems[key].numbers(name) if key in self.systems else {}
        return interval(list(numbers.values())) if numbers else None

    def difference(self, later: str, earlier: str, name: str) -> dict[str, Any] | None:
        """`paired_interval` of later minus earlier, percentage points; None where no seed has both."""
        if later not in self.systems or earlier not in self.systems:
            return None
        return paired_interval(self.systems[later].numbers(name), self.systems[earlier].numbers(name))


def read_tables(path: Path) -> TableResults:
    """The results in ``path``; WorkbenchError with file and key where it is missing or damaged."""
    return checked_results(read_json(path), str(path))


def checked_results(record: Any, place: str) -> TableResults:
    """The results in the decoded ``record``; ``place`` names it in errors."""
    profile = _field(record, "profile", str, place)
    seeds = _field(record, "seeds", list, place)
    if not seeds or any(type(seed) is not int for seed in seeds) or len(set(seeds)) != len(seeds):
        raise WorkbenchError(f"{place}: seeds {seeds!r}; expected different integers, at least one. {_REMEDY}")
    systems = _field(record, "systems", dict, place)
    if not systems:
        raise WorkbenchError(f"{place}: systems is empty; expected one or more. {_REMEDY}")
    checked = {key: _system(key, entry, seeds, f"{place}: systems.{key}") for key, entry in systems.items()}
    return TableResults(profile, tuple(seeds), checked)


def of_run(
    metrics: Mapping[str, Any], start: str, seed: int, *, hardness: bool = True, profile: str = ""
) -> TableResults:
    """One run's recognisers as results of one seed, from what notebook 05 saved.

    ``start`` is where sampling began ("random" or "subject-object") and ``hardness`` whether the diffusion model knew
    it: they say which of the paper's systems the fine-tuned recogniser is.
    """
    place = "metrics of 05_finetune_and_evaluate"
    baseline, variants = _field(metrics, "baseline", str, place), _field(metrics, "variants", dict, place)
    if baseline not in variants:
        raise WorkbenchError(f"{place}: no variant {baseline!r}; there are {sorted(variants)}. Run notebook 05 again.")
    enhancements = ("_so" if start == "subject-object" else "_random") + ("" if hardness else "_plain")
    systems = {}
    for title, values in variants.items():
        key = _key_of_variant(title, baseline, enhancements)
        systems[key] = {
            "title": f"LSVRU, {title}", "architecture": "LSVRU", "training": title,
            "group": _group_of_variant(title), "generated": "DiffAugment" in title,
            "baseline": None if title == baseline else _key_of_variant(baseline, baseline, enhancements),
            "values": {str(seed): values}, "failed": {},
        }  # fmt: skip
    return checked_results({"profile": profile, "seeds": [seed], "systems": systems}, place)


def _key_of_variant(title: str, baseline: str, enhancements: str) -> str:
    keys = {loss_title: f"lsvru_{loss}" for loss, loss_title in LOSS_TITLES.items()}
    method = f"{baseline} + DiffAugment"
    if title.startswith(method) and baseline in keys:
        rest = _slug(title.removeprefix(method))
        return keys[baseline] + enhancements + (f"_{rest}" if rest else "")
    return keys.get(title) or f"lsvru_{_slug(title)}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _group_of_variant(title: str) -> str:
    if "real replay" in title:
        return "kept head"
    if title in (LOSS_TITLES["ce"], LOSS_TITLES["wce"]) or "DiffAugment" in title:
        return "paper"
    return "logit adjustment" if title == LOSS_TITLES["logit_adjusted"] else "loss"


def _system(key: str, entry: Any, seeds: list[int], place: str) -> System:
    texts = {name: _field(entry, name, str, place) for name in ("title", "architecture", "training", "group")}
    if texts["group"] not in GROUP_COLOURS:
        raise WorkbenchError(
            f"{place}.group: {texts['group']!r}; expected one of {', '.join(GROUP_COLOURS)}. {_REMEDY}"
        )
    optional = {name: _optional_text(entry, name, place) for name in ("baseline", "curve", "note")}
    values = {
        _seed(seed, seeds, f"{place}.values"): _numbers(numbers, f"{place}.values.{seed}")
        for seed, numbers in _field(entry, "values", dict, place).items()
    }
    failed = _field(entry, "failed", dict, place)
    reasons = {_seed(seed, seeds, f"{place}.failed"): _field(failed, seed, str, f"{place}.failed") for seed in failed}
    generated = _field(entry, "generated", bool, place)
    return System(key=key, generated=generated, values=values, failed=reasons, **texts, **optional)


def _field(record: Any, name: str, kind: type, place: str) -> Any:
    if not isinstance(record, Mapping):
        raise WorkbenchError(f"{place}: expected an object, got {type(record).__name__}. {_REMEDY}")
    if name not in record:
        raise WorkbenchError(f"{place}: {name!r} is missing. {_REMEDY}")
    if not isinstance(record[name], kind):
        raise WorkbenchError(f"{place}.{name}: expected {kind.__name__}, got {record[name]!r:.60}. {_REMEDY}")
    return record[name]


def _optional_text(record: Mapping[str, Any], name: str, place: str) -> str | None:
    return None if record.get(name) is None else _field(record, name, str, place)


def _seed(text: str, seeds: list[int], place: str) -> int:
    if text not in map(str, seeds):
        raise WorkbenchError(f"{place}: seed {text!r} is not among the seeds {seeds}. {_REMEDY}")
    return int(text)


def _numbers(values: Any, place: str) -> dict[str, float | None]:
    if not isinstance(values, Mapping) or not values:
        raise WorkbenchError(f"{place}: expected an object of numbers, got {values!r:.60}. {_REMEDY}")
    for name, value in values.items():
        if name not in VALUE_NAMES:
            raise WorkbenchError(f"{place}: unknown value {name!r}; expected '<metric> <role> <band>'. {_REMEDY}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and math.isfinite(value) and 0 <= value <= 100):
            raise WorkbenchError(f"{place}.{name}: {value!r}; expected percent from 0 to 100, or null. {_REMEDY}")
    return dict(values)
