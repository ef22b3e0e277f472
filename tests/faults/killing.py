"""Kills and stops runs at many moments, starts pairs together, and compares with a run that nobody disturbed.

``python -m tests.faults.killing --seed 3 --kills 30 --stops 60 --pairs 20`` prints four counts; all but the first
must be 0. Notebooks 00 and 02 suffice: processes that draw, a feature store, tables, and two kernels.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
STUCK_SECONDS, ORPHAN_SECONDS = 120, 10
# A stop is directed at the moment after one of these: a text of the output, or a kernel that starts.
SIGNS = ("", "[1/2]", "kernel", "building", "built in", "[2/2]", "      ", "02_build", "s, at most", "report:")


class Trial:
    """A project of its own, and what went wrong in it."""

    def __init__(self, root: Path, draws: random.Random, notebooks: Path):
        self.root, self.draws, self.log = root, draws, root / "log.txt"
        self.counts = {"done": 0, "raw tracebacks": 0, "other results": 0, "stuck": 0}
        shutil.copytree(notebooks, root / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))
        started = time.monotonic()
        assert self.start("smoke", "00", "02").wait() == 0, self.log.read_text()
        self.seconds, self.whole = time.monotonic() - started, self.result()
        self.features = root / "features"
        shutil.copytree(root / "data" / "runs" / "smoke", self.features)
        self.clear()

    def start(self, run: str, *only: str, log: Path | None = None) -> subprocess.Popen:
        command = [sys.executable, "-u", "-m", "workbench", "run", "--profile", "smoke", "--run", run, "--only", *only]
        variables = os.environ | {"WORKBENCH_HOME": str(self.root), "PYTHONPATH": f"{ROOT}:{ROOT / 'data'}"}
        with open(log or self.log, "w") as output:
            return subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT, cwd=self.root)

    def clear(self) -> None:
        for name in ("data", "reports"):
            shutil.rmtree(self.root / name, ignore_errors=True)

    def result(self) -> dict[str, str]:
        """Of the run: the digest of each file of its stages, of manifests that of identity and metrics."""
        folder, found = self.root / "data" / "runs" / "smoke", {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
            data = path.read_bytes()
            if path.name == "manifest.json":
                data = json.dumps([json.loads(data)[key] for key in ("identity", "metrics")]).encode()
            found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
        return found

    def wrong(self, kind: str, told: str) -> None:
        self.counts[kind] += 1
        print(f"{kind}: {told}\n{self.log.read_text()[-2000:]}", flush=True)

    def disturb(self, number: int, sign: str, delay: float) -> bool:
        """Send the signal ``delay`` seconds after the sign; whether the run was still there."""
        run, began = self.start("smoke", "00", "02"), time.monotonic()
        while run.poll() is None and not self.seen(run, sign):
            time.sleep(0.02)
        time.sleep(delay)
        family = psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []
        told = f"signal {number} {delay:.2f} s after {sign!r}, {time.monotonic() - began:.1f} s after the start"
        run.send_signal(number)
        try:
            status = run.wait(STUCK_SECONDS)
        except subprocess.TimeoutExpired:
            self.wrong("stuck", told)
            run.kill()
            status = run.wait()
        if status not in (0, -number, 128 + number):
            self.wrong("other results", f"{told}: status {status}")
        if psutil.wait_procs(family, timeout=ORPHAN_SECONDS)[1]:
            self.wrong("stuck", f"{told}: processes go on")
        if "Traceback (most" in self.log.read_text():
            self.wrong("raw tracebacks", told)
        if status == 0:
            if self.result() != self.whole:
                self.wrong("other results", told)
            self.clear()
        self.counts["done"] += status != 0
        return status != 0

    def seen(self, run: subprocess.Popen, sign: str) -> bool:
        if sign == "kernel":
            return bool(psutil.Process(run.pid).children())
        return sign in self.log.read_text()

    def pair(self) -> None:
        runs = {}
        for name in ("one", "two"):
            shutil.copytree(self.features, self.root / "data" / "runs" / name, dirs_exist_ok=True)
            runs[name] = self.start(name, "01", log=self.root / f"{name}.txt")
        for name, run in runs.items():
            try:
                if run.wait(STUCK_SECONDS):
                    self.wrong("other results", f"a pair: {(self.root / f'{name}.txt').read_text()[-2000:]}")
            except subprocess.TimeoutExpired:
                run.kill()
                self.wrong("stuck", "a pair")
        self.counts["done"] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, number in {"seed": 0, "kills": 30, "stops": 60, "pairs": 20}.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wb-killing-") as folder:
        trial = Trial(Path(folder), random.Random(asked.seed), asked.notebooks)
        for _ in range(asked.kills):
            trial.disturb(signal.SIGKILL, "", trial.draws.uniform(0, trial.seconds))
        for number in range(asked.stops):
            trial.disturb(signal.SIGTERM, SIGNS[number % len(SIGNS)], trial.draws.uniform(0, 0.4))
        if trial.start("smoke", "00", "02").wait() or trial.result() != trial.whole:
            trial.wrong("other results", "the last resume")
        for _ in range(asked.pairs):
            trial.pair()
    print(", ".join(f"{number} {kind}" for kind, number in trial.counts.items()))
    return int(any(number for kind, number in trial.counts.items() if kind != "done"))


if __name__ == "__main__":
    sys.exit(main())
