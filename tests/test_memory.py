"""Memory that goes back to the system; counted as the kernel counts it."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from workbench.memory import map_large_blocks, release_memory

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) / 1024

bytearray(30 << 20)  # freed at once: glibc's limit is above 8 MB from now on
before = resident()
if sys.argv[1] == "map":
    map_large_blocks()
size = 64 << 10 if sys.argv[1] == "release" else 8 << 20
blocks = [bytearray(b"1" * size) for _ in range((128 << 20) // size)]
cycle = [blocks[:-1]]  # the last block stays, as a hole's border
cycle.append(cycle)
last, full = blocks[-1], resident()
del blocks, cycle
if sys.argv[1] == "release":
    release_memory()
else:
    import gc
    gc.collect()
print(full - before, resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells how much memory is resident")
@pytest.mark.parametrize("way", ["map", "release"])
def test_freed_memory_goes_back(way):
    told = subprocess.run([sys.executable, "-c", SCRIPT, way], capture_output=True, text=True, check=True).stdout
    full, left = map(float, told.split())
    assert full > 120 and left < 12
