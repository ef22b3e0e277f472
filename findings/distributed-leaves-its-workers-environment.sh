#!/usr/bin/env bash
# distributed 2026.8.0: a closed LocalCluster of processes leaves its workers' environment in the process that made it.
#
# The variables meant for worker processes are set in the parent while they start, and stay after close(). So whatever is
# imported or started later computes on one thread (OMP_NUM_THREADS, MKL_ and OPENBLAS_; torch imported afterwards has
# one thread, on any number of cores), and every later Python process hashes text alike: PYTHONHASHSEED, which only
# workers need, is no longer random, so that a test of an order that hangs on hashes passes by chance.
#
# Seen (variables that were not set before, after the cluster was closed):
#   MALLOC_TRIM_THRESHOLD_, MKL_NUM_THREADS, OMP_NUM_THREADS, OPENBLAS_NUM_THREADS, PYTHONHASHSEED, __DASK_PARENT_PID
#   hashes of one word in three new processes: before 3, after 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "distributed==2026.8.0" "dask==2026.8.0"
cat > "$folder/look.py" <<'PYTHON'
import os
import subprocess
import sys

from distributed import LocalCluster


def hashes():
    command = [sys.executable, "-c", "print(hash('horse'))"]
    return len({subprocess.run(command, capture_output=True, check=True).stdout for _ in range(3)})


if __name__ == "__main__":
    before, hashes_before = dict(os.environ), hashes()
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None):
        pass
    left = sorted(name for name, value in os.environ.items() if before.get(name) != value)
    hashes_after = hashes()
    print(", ".join(left))
    print(f"hashes of one word in three new processes: before {hashes_before}, after {hashes_after}")
    assert {"OMP_NUM_THREADS", "PYTHONHASHSEED"} <= set(left), "distributed cleans up now"
    assert (hashes_before, hashes_after) == (3, 1) and os.environ["OMP_NUM_THREADS"] == "1"
PYTHON
cd "$folder"
env -u OMP_NUM_THREADS -u MKL_NUM_THREADS -u OPENBLAS_NUM_THREADS -u PYTHONHASHSEED venv/bin/python look.py
