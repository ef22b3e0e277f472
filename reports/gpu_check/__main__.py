"""Check and measure the workbench on a GPU, without a network, in eight minutes: ``make gpu-check``.

Each section is a process of its own with a limit of time; one that fails does not stop the others. ``--device cpu``
rehearses all of them at reduced sizes.
"""

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 480
# Module, and seconds at most: what matters most comes first, for what is left of the eight minutes.
SECTIONS = {
    "sampling": ("speed", 60), "agreement": ("agreement", 70), "smoke": ("stages", 150),
    "simulated_data": ("stages", 60), "simulated_denoiser": ("stages", 80), "simulated_recognisers": ("stages", 90),
    "resume": ("agreement", 50), "extraction": ("speed", 40), "processes": ("agreement", 60),
    "simulated_fidelity": ("stages", 90),
}  # fmt: skip
LAST_LINES = 12


def main() -> int:
    """Run the sections, write the one file; the exit status is 1 where a section failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "reports/reference/gpu.json")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--wheels", type=Path, default=ROOT / ".wheels")
    parser.add_argument("--section", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.section:
        return run_section(given.section, given.work, given.device == "cpu")
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU, nothing was written. Rehearse with --device cpu --out FILE.")
    began, results = time.monotonic(), {}
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        work = Path(folder)
        environment = prepared(work, given.wheels, given.device)
        for name in given.only:
            left = SECONDS * (10 if given.device == "cpu" else 1) - (time.monotonic() - began)
            results[name] = entry = in_process(name, work, given.device, environment, left)
            met = "; ".join(f"{key} {each['value']:.4g}" for key, each in entry["required"].items())
            print(f"{name}: {entry['status']} in {entry['seconds']:.0f} s. {entry['reason']} {met}", flush=True)
        machine = json.loads((work / "machine.json").read_text()) if (work / "machine.json").is_file() else {}
    record = {"device": given.device, "machine": machine, "seconds": round(time.monotonic() - began, 1)}
    given.out.write_text(json.dumps(record | {"sections": results}, indent=1) + "\n", encoding="utf-8")
    print(f"{given.out}: {record['seconds']} s on {machine.get('gpu', 'an unknown machine')}")
    return int(any(entry["status"] == "failed" for entry in results.values()))


def prepared(work: Path, wheels: Path, device: str) -> dict[str, str]:
    """The sections' environment: of the wheels what this machine lacks, our packages, and the GPU or none."""
    have = {str(each.name).lower().replace("_", "-") for each in metadata.distributions()}
    for wheel in sorted(wheels.glob("*.whl")):
        if wheel.name.split("-")[0].lower().replace("_", "-") not in have:
            zipfile.ZipFile(wheel).extractall(work / "site")
    (work / "notebooks").symlink_to(ROOT / "notebooks")
    places = [ROOT, ROOT / "data", ROOT / "reports", work / "site"]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    offline = {"HF_HUB_OFFLINE": "1", "WORKBENCH_HEADLESS": "1", "TQDM_MININTERVAL": "30", "PYTHONUNBUFFERED": "1"}
    return os.environ | hidden | offline | {"PYTHONPATH": os.pathsep.join(map(str, places))}


def in_process(name: str, work: Path, device: str, environment: dict[str, str], left: float) -> dict[str, Any]:
    """One section in a process of its own, ended with all that it started at its limit."""
    slow = 10 if device == "cpu" else 1
    began, limit = time.monotonic(), slow * min(SECTIONS[name][1], left)
    found, log = work / f"{name}.json", work / f"{name}.log"
    none = {"status": "failed", "reason": "", "numbers": {}, "required": {}}
    if limit < 5:
        return none | {"status": "skipped", "reason": f"the {SECONDS} s are used up", "seconds": 0.0}
    command = [sys.executable, "-m", "gpu_check", "--section", name, "--work", str(work), "--device", device]
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, env=environment, cwd=work, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            process.wait(limit)
            ended = f"ended with status {process.returncode}"
        except subprocess.TimeoutExpired:
            ended = f"ran past {limit:.0f} s"
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    entry = none | (json.loads(found.read_text(encoding="utf-8")) if found.is_file() else {})
    if entry["status"] in ("running", "failed") and not entry["reason"]:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        entry |= {"status": "failed", "reason": f"{ended}: " + " | ".join(last)}
    return entry | {"seconds": round(time.monotonic() - began, 1)}


def run_section(name: str, work: Path, small: bool) -> int:
    """The work of one section, in its own process."""
    from gpu_check.findings import Findings, SkippedSectionError
    from workbench.identity import versions

    found = Findings(work / f"{name}.json", work, small)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    gpus = torch.cuda.device_count()
    (work / "machine.json").write_text(json.dumps(versions() | {"gpu": gpu, "gpus": gpus, "cuda": torch.version.cuda}))
    try:
        getattr(importlib.import_module(f"gpu_check.{SECTIONS[name][0]}"), name)(found)
        missed = found.missed()
        found.write("failed" if missed else "passed", f"not met: {', '.join(missed)}." if missed else "")
    except SkippedSectionError as why:
        found.write("skipped", str(why))
    except Exception as error:
        traceback.print_exc()
        found.write("failed", f"{type(error).__name__}: {error}"[:2000])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
