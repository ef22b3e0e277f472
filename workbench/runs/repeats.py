"""The same profile with several seeds: means with intervals, and paired differences between variants."""

from itertools import combinations
from pathlib import Path
from typing import Any

from workbench.configuration import flat
from workbench.errors import WorkbenchError, unknown
from workbench.files import read_json, write_json
from workbench.paths import reports_folder
from workbench.runs.notebooks import run_profile
from workbench.runs.run_records import METRICS
from workbench.tables.results import CONFIDENCE, interval

VARIANTS, BASELINE = "variants", "baseline"


def repeat_profile(profile: str, seeds: list[int], run: str | None = None, **options: Any) -> Path:
    """Run ``profile`` once a seed as ``<run>-seed<k>`` and write ``reports/<run>-seeds.json``; returns its path.

    ``options`` go to ``run_profile``. Finished runs are loaded, so a stopped repetition resumes where it stopped.
    """
    if len(set(seeds)) != len(seeds) or not seeds:
        raise WorkbenchError(f"seeds {seeds}: give at least one, each once.")
    name, parameters = run or profile, options.pop("parameters", None) or {}
    if "seed" in parameters:
        raise WorkbenchError("-p seed=...: the seed is what is repeated over. Give --seeds instead.")
    folders = []
    for seed in seeds:
        print(f"seed {seed}", flush=True)
        given = parameters | {"seed": seed}
        folders.append(run_profile(profile, run=f"{name}-seed{seed}", parameters=given, **options))
    found = [read_json(folder / METRICS) for folder in folders]
    record = {"run": name, "profile": profile, "seeds": seeds, "runs": [folder.name for folder in folders]}
    path = reports_folder(options.get("root")) / f"{name}-seeds.json"
    write_json(path, record | {"metrics": intervals(found), "differences": variant_differences(found)})
    return path


def intervals(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and 95 % t-interval of each number that all ``runs`` have, by its dotted name."""
    found = [_numbers(metrics) for metrics in runs]
    return {name: interval([other[name] for other in found]) for name in _shared(found)}


def variant_differences(runs: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Paired differences, run by run, between the variants that a notebook's metrics list under "variants".

    Each variant is compared with the one named under "baseline", or each pair where there is none. Returns
    ``{"<notebook>: <a> - <b>": {metric: interval}}`` of a's number minus b's.
    """
    compared: dict[str, dict[str, dict[str, Any]]] = {}
    for notebook, metrics in runs[0].items():
        variants = metrics.get(VARIANTS)
        if not isinstance(variants, dict):
            continue
        baseline = metrics.get(BASELINE)
        if baseline is not None and baseline not in variants:
            raise WorkbenchError(f"metrics of {notebook}: {unknown('baseline', baseline, variants)}")
        pairs = [(name, baseline) for name in variants if name != baseline]
        if baseline is None:
            pairs = [(later, earlier) for earlier, later in combinations(variants, 2)]
        numbers = [{name: _numbers(found) for name, found in run[notebook][VARIANTS].items()} for run in runs]
        for one, other in pairs:
            both = [(run.get(one, {}), run.get(other, {})) for run in numbers]
            differences = {
                name: interval([a[name] - b[name] for a, b in both])
                for name in _shared([n for pair in both for n in pair])
            }
            compared[f"{notebook}: {one} - {other}"] = differences
    return compared


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """All numbers of nested dicts by dotted name; lists, texts, truth values and nulls are left out."""
    found = flat(values).items()
    return {name: float(n) for name, n in found if isinstance(n, int | float) and not isinstance(n, bool)}


def _shared(found: list[dict[str, float]]) -> list[str]:
    return [name for name in found[0] if all(name in other for other in found)]


def repeats_text(path: Path) -> str:
    """The differences between variants, and the headline numbers, of a written repetition."""
    record = read_json(path)
    lines = [f"{len(record['seeds'])} seeds, mean and {CONFIDENCE:.0%} t-interval"]
    headline = {name: values for name, values in record["metrics"].items() if ".headline." in name}
    tables = [(title, metrics, "+") for title, metrics in record["differences"].items()]
    for title, metrics, sign in [*tables, *([("headline", headline, "")] if headline else [])]:
        lines += ["", title]
        for name, values in metrics.items():
            width = "" if values["half_width"] is None else f" ± {values['half_width']:.3g}"
            lines.append(f"  {name:<48} {values['mean']:{sign}.4g}{width}")
    return "\n".join(lines)
