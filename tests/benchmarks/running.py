"""All benchmarks, every ``benchmark_*()`` of the modules beside this one, as a table and a file."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tests.benchmarks
from workbench.errors import WorkbenchError, unknown
from workbench.files import write_json
from workbench.identity import versions, without_nan
from workbench.paths import reports_folder

_PREFIX = "benchmark_"


def benchmarks() -> dict[str, Callable[[], dict[str, Any]]]:
    """All benchmarks by name without the prefix; each returns what it measured, name to number or text."""
    found: dict[str, Callable[[], dict[str, Any]]] = {}
    for module_info in pkgutil.iter_modules(tests.benchmarks.__path__):
        module = importlib.import_module(f"tests.benchmarks.{module_info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith(_PREFIX) and function.__module__ == module.__name__:
                found[name.removeprefix(_PREFIX)] = function
    return found


def run_benchmarks(only: list[str] | None = None, root: Path | None = None) -> Path:
    """Run them one after the other, print what each measured, write ``reports/bench.json``; returns its path."""
    available = benchmarks()
    for name in only or []:
        if name not in available:
            raise WorkbenchError(unknown("benchmark", name, available))
    results = {}
    for name in only or available:
        print(name, flush=True)
        results[name] = without_nan(available[name]())
        print("\n".join(result_lines(results[name])), flush=True)
    path = reports_folder(root) / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(path, {"results": results, "versions": versions(), "finished": finished})
    return path


def result_lines(result: dict[str, Any]) -> list[str]:
    """The table of one benchmark; ``<what>_seconds`` beside ``reference_seconds`` also gives the ratio."""
    lines = [f"  {name.replace('_', ' '):<44} {_told(value)}" for name, value in result.items()]
    reference = result.get("reference_seconds")
    for name, value in result.items():
        if reference and value and name.endswith("seconds") and name != "reference_seconds" and "ratio" not in result:
            lines.append(f"  {'reference / ' + name.replace('_', ' '):<44} {reference / value:,.1f}")
    return lines


def _told(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
