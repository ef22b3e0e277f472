"""How long it takes until anything happens: importing the package, asking for help."""

import statistics
import subprocess
import sys
import time

_REPEATS = 5


def benchmark_startup() -> dict[str, float]:
    """Medians over five fresh processes, each after the same without the import has been taken off."""
    bare = _median_seconds("-c", "pass")
    imported, helped = _median_seconds("-c", "import workbench"), _median_seconds("-m", "workbench", "--help")
    return {"import_workbench_seconds": max(imported - bare, 0.0), "help_seconds": helped, "bare_python_seconds": bare}


def _median_seconds(*arguments: str) -> float:
    taken = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
