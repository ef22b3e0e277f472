"""All benchmarks, every ``benchmark_*()`` of the modules beside this one, as a table and a file."""

import importlib
import inspect
import pkgutil
import statistics
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import reports.benchmarks
from workbench.errors import WorkbenchError, unknown
from workbench.files import write_json
from workbench.identity import versions, without_nan
from workbench.paths import reports_folder

_PREFIX = "benchmark_"


def benchmarks() -> dict[str, Callable[[], dict[str, Any]]]:
    """All benchmarks by name without the prefix; each returns what it measured, name to number or text."""
    found: dict[str, Callable[[], dict[str, Any]]] = {}
    for module_info in pkgutil.iter_modules(reports.benchmarks.__path__):
        module = importlib.import_module(f"reports.benchmarks.{module_info.name}")
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
        for what, value in results[name].items():
            number = f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
            print(f"  {what.replace('_', ' '):<44} {number}", flush=True)
    path = reports_folder(root) / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(path, {"results": results, "versions": versions(), "finished": finished})
    return path


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds that ``call(*arguments)`` takes, and what it gives."""
    started = time.perf_counter()
    found = call(*arguments)
    return time.perf_counter() - started, found


def side_by_side(
    name: str, cases: Iterable[Any], ours: Callable[[Any], Any], theirs: Callable[[Any], Any], peer: str
) -> dict[str, float]:
    """Median seconds of both over the cases, and how many times ours is as fast; WorkbenchError where they differ."""
    seconds, peer_seconds = [], []
    for case in cases:
        (taken, found), (peer_taken, expected) = timed(ours, case), timed(theirs, case)
        if found != expected:
            raise WorkbenchError(f"{name}: {peer} finds {expected}, ours {found}; do not trust this benchmark.")
        seconds.append(taken)
        peer_seconds.append(peer_taken)
    median, peer_median = statistics.median(seconds), statistics.median(peer_seconds)
    return {f"{name}_seconds": median, f"{name}_{peer}_seconds": peer_median, f"{name}_ratio": peer_median / median}
