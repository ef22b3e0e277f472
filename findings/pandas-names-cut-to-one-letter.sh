#!/usr/bin/env bash
# pandas 3.1.1: to_numpy(dtype=str) cuts every name of a column to one letter as soon as one name is missing.
#
# Text columns have the type `str` now. Without gaps to_numpy(dtype=str) measures the longest name. With one gap it fills
# an array of NumPy's shortest text type, and NumPy cuts what does not fit: no error, no warning, and the gap itself is
# "n". "horse", "hat" and "hand" become one class "h"; np.unique of the result still looks like labels. The same data in
# a column of type object give whole names and "None", as earlier versions of pandas did.
#
# Seen (pyarrow 26.0.1, numpy 2.4.6):
#   whole column ['horse' 'hat' 'zebra'], one gap ['h' 'n' 'z'], as object ['horse' 'None' 'zebra']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pandas==3.1.1" "pyarrow==26.0.1" "numpy==2.4.6"
"$folder/venv/bin/python" -W error - <<'PYTHON'
import pandas as pd

whole = pd.Series(["horse", "hat", "zebra"]).to_numpy(dtype=str)
names = ["horse", None, "zebra"]
assert pd.Series(names).dtype == "str"
gap = pd.Series(names).to_numpy(dtype=str)
plain = pd.Series(names, dtype=object).to_numpy(dtype=str)
print(f"whole column {whole}, one gap {gap}, as object {plain}")
assert whole.tolist() == ["horse", "hat", "zebra"] and plain.tolist() == ["horse", "None", "zebra"]
assert gap.tolist() == ["h", "n", "z"], "pandas behaves differently now"
PYTHON
