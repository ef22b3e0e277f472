"""How long it takes until anything happens: importing the package, asking for help."""

import statistics
import subprocess
import sys

from reports.benchmarks.running import timed

_REPEATS = 5


def benchmark_startup() -> dict[str, float]:
    """Medians over five fresh processes; what a bare Python takes is taken off the import."""
    bare, imported, helped = (
        statistics.median(timed(_python, *arguments)[0] for _ in range(_REPEATS))
        for arguments in (("-c", "pass"), ("-c", "import workbench"), ("-m", "workbench", "--help"))
    )
    return {"import_workbench_seconds": max(imported - bare, 0.0), "help_seconds": helped, "bare_python_seconds": bare}


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
