#!/usr/bin/env bash
# safetensors 0.8.0: safetensors.numpy saves a column-major array with its numbers in the wrong places, silently.
#
# save() and save_file() write the array's memory as it lies and note the shape, but a safetensors file knows rows first
# only. A transposed view, a result of np.asfortranarray, of many scipy.linalg functions or of DataFrame.to_numpy() has
# columns first: it comes back with the same shape, type, sum and extremes, and other rows. Of a cut with steps the numbers
# between come back, which do not belong to it. safetensors.torch refuses such tensors with an error instead.
# np.ascontiguousarray before saving is the remedy.
#
# Seen: columns first [[0, 1, 2], [3, 4, 5]] loaded [[0, 3, 1], [4, 2, 5]]
#   every second column [[0, 2, 4], [6, 8, 10]] loaded [[0, 1, 2], [3, 4, 5]]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "safetensors==0.8.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from safetensors.numpy import load, save


def back(array):
    return load(save({"weights": array}))["weights"]


rows = np.arange(6).reshape(2, 3)
columns, second = np.asfortranarray(rows), np.arange(12).reshape(2, 6)[:, ::2]
assert np.array_equal(rows, columns)
print(f"columns first {columns.tolist()} loaded {back(columns).tolist()}")
print(f"every second column {second.tolist()} loaded {back(second).tolist()}")
for array in (rows, columns, second):
    assert np.array_equal(back(np.ascontiguousarray(array)), array)
assert back(columns).tolist() == [[0, 3, 1], [4, 2, 5]], "safetensors writes column-major arrays differently now"
assert back(second).tolist() == [[0, 1, 2], [3, 4, 5]], "safetensors writes cut arrays differently now"
PYTHON
