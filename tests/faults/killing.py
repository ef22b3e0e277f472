"""Kills and stops runs at many moments, starts pairs together, fills a small disk, and compares with a run left alone.

``python -m tests.faults.killing --seed 3 --kills 30 --stops 60 --pairs 20 --disks 6`` prints four counts; all but the
first must be 0. The notebooks are small: processes that draw, a training, and two kernels.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.runs.conftest import write_notebook

ROOT = Path(__file__).resolve().parents[2]
STUCK_SECONDS, ORPHAN_SECONDS = 300, 10
# A stop is directed at the moment after one of these: a text of the output, or a kernel that starts.
SIGNS = ("", "[1/2]", "kernel", "building", "built in", "[2/2]", "      ", "detector/default", "s, at most", "report:")
MAKE = """
from drawn_scenes.detector import pretrain_detector
from drawn_scenes.detector_config import DetectorConfig
from drawn_scenes.prepare import DrawnScenesConfig, draw_scenes
from workbench.stages import Run
run = Run.open(run_name)
scenes = run.stage("scenes", draw_scenes, config=DrawnScenesConfig(8, 4, 4, size=64))
run.stage("detector", pretrain_detector, scenes=scenes, config=DetectorConfig(width=0.03125, epochs=2))
"""
USE = """
from workbench.stages import Run
run = Run.open(run_name)
run.save_metrics("02_use", {"headline": {"classes": len(run.find("detector").metrics["classes"])}})
"""


class Trial:
    """A project of its own, and what went wrong in it."""

    def __init__(self, root: Path, draws: random.Random):
        self.root, self.draws, self.log = root, draws, root.with_name("small.txt")
        self.counts = {"done": 0, "raw tracebacks": 0, "other results": 0, "stuck": 0}
        for name, source in {"01_make": MAKE, "02_use": USE}.items():
            cells = [("markdown", f"# Does {name} end?", None), ("code", 'run_name: str = "small"', "parameters")]
            write_notebook(root / "notebooks" / f"{name}.ipynb", [*cells, ("code", source.strip(), None)])
        (root / "notebooks" / "params").mkdir()
        (root / "notebooks" / "params" / "small.yml").write_text("run: small\n")
        started = time.monotonic()
        assert self.start("small").wait() == 0, self.log.read_text()
        self.seconds, self.whole = time.monotonic() - started, self.result()
        self.made = root.with_name("made")
        shutil.copytree(root / "data" / "runs" / "small", self.made)
        self.clear()

    def start(self, run: str, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-u", "-m", "workbench", "run", "--profile", "small", "--run", run, *options]
        variables = os.environ | {"WORKBENCH_HOME": str(self.root), "PYTHONPATH": f"{ROOT}:{ROOT / 'data'}"}
        with open(self.log.with_name(f"{run}.txt"), "w") as output:
            return subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT)

    def clear(self) -> None:
        subprocess.run(["rm", "-rf", self.root / "data", self.root / "reports"], check=True)

    def result(self) -> dict[str, str]:
        """Of the run: the digest of each file of its stages, without times in JSON."""
        folder, found = self.root / "data" / "runs" / "small", {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"):
            data = path.read_bytes()
            if path.suffix in (".json", ".jsonl"):
                texts = data.splitlines() if path.suffix == ".jsonl" else [data]
                data = json.dumps([json.loads(text, object_hook=without_times) for text in texts]).encode()
            found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
        return found

    def compare(self, told: str) -> None:
        """Count another result, with the names of the files that differ."""
        now = self.result()
        if other := [name for name in sorted(now.keys() | self.whole) if now.get(name) != self.whole.get(name)]:
            self.wrong("other results", f"{told}: {', '.join(other)}")

    def wrong(self, kind: str, told: str) -> None:
        self.counts[kind] += 1
        print(kind, told, *(path.read_text()[-2000:] for path in self.log.parent.glob("*.txt")), sep="\n", flush=True)

    def done(self) -> None:
        self.counts["done"] += 1
        print(f"{time.strftime('%H:%M:%S')} {self.counts}", flush=True)

    def disturb(self, number: int, sign: str, delay: float) -> None:
        """Send the signal ``delay`` seconds after the sign."""
        run, began = self.start("small"), time.monotonic()
        while run.poll() is None:
            if psutil.Process(run.pid).children() if sign == "kernel" else sign in self.log.read_text():
                break
            time.sleep(0.02)
        time.sleep(delay)
        family = psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []
        told = f"signal {number} {delay:.2f} s after {sign!r}, {time.monotonic() - began:.1f} s after the start"
        run.send_signal(number)
        status = self.ended(run, told)
        if status not in (-number, 128 + number) and (status or (family and sign != "report:")):
            self.wrong("other results", f"{told}: status {status}")
        if alive := psutil.wait_procs(family, timeout=ORPHAN_SECONDS)[1]:
            self.wrong("stuck", f"{told}: processes go on: {alive}")
        if "Traceback (most" in self.log.read_text():
            self.wrong("raw tracebacks", told)
        if left := [path for path in (self.root / "notebooks").iterdir() if path.is_socket()]:
            self.wrong("other results", f"{told}: sockets are left: {left}")
        if status == 0:
            self.compare(told)
            self.clear()
        self.done()

    def ended(self, run: subprocess.Popen, told: str) -> int:
        try:
            return run.wait(STUCK_SECONDS)
        except subprocess.TimeoutExpired:
            self.wrong("stuck", told)
            run.kill()
            return run.wait()

    def resume(self, told: str) -> None:
        """The run goes on to its end, and to the same result."""
        if status := self.ended(self.start("small"), told):
            self.wrong("other results", f"{told}: status {status}")
        self.compare(told)

    def pair(self) -> None:
        for name in ("one", "two"):
            shutil.copytree(self.made, self.root / "data" / "runs" / name, dirs_exist_ok=True)
        for run in [self.start(name, "--only", "02") for name in ("one", "two")]:
            if status := self.ended(run, "a pair"):
                self.wrong("other results", f"a pair: status {status}")
        self.done()

    def small_disk(self, kilobytes: int) -> None:
        """A run whose stages lie on a disk that is too small, and its resume on one that is not."""
        disk, told = self.root / "data", f"a disk of {kilobytes} kB"
        disk.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "small", disk], check=True)
        try:
            status, text = self.ended(self.start("small"), told), self.log.read_text()
            if status != 0 and ("Traceback (most" in text or "disk is full" not in text):
                self.wrong("raw tracebacks", told)
            subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
            self.resume(f"{told}, then a larger one")
        finally:
            subprocess.run(["umount", disk], check=True)
        self.clear()
        self.done()


def without_times(found: dict) -> dict:
    """A JSON object without seconds, dates, and sums of files that hold such."""
    return {key: value for key, value in found.items() if not re.search("second|finished|files|sha256", key)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, number in {"seed": 0, "kills": 30, "stops": 60, "pairs": 20, "disks": 6}.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="killing-") as folder:
        trial = Trial(Path(folder) / "project", random.Random(asked.seed))
        for _ in range(asked.kills):
            trial.disturb(signal.SIGKILL, "", trial.draws.uniform(0, trial.seconds))
        for number in range(asked.stops):
            trial.disturb(signal.SIGTERM, SIGNS[number % len(SIGNS)], trial.draws.uniform(0, 0.4))
        trial.resume("the last resume")
        for _ in range(asked.pairs):
            trial.pair()
        size = sum(path.stat().st_size for path in trial.made.rglob("*")) // 1024
        for _ in range(0 if os.geteuid() else asked.disks):  # only root may mount one
            trial.small_disk(trial.draws.randint(8, size))
    print(", ".join(f"{number} {kind}" for kind, number in trial.counts.items()))
    return int(any(number for kind, number in trial.counts.items() if kind != "done"))


if __name__ == "__main__":
    sys.exit(main())
