#!/usr/bin/env bash
# papermill 2.7.0: a parameter that is a tuple arrives in the notebook as a string, and nothing says so.
#
# papermill writes parameters as Python source. Lists, dicts, numbers and text become literals; a tuple becomes a
# *string literal* of str(value), also inside lists and dicts, and whole keys of a dict become strings. The values
# recorded in the output notebook's metadata look right: JSON makes lists of the tuples. In the notebook `len(sizes)` is
# the number of letters, `max(sizes)` is "8", `for size in sizes` goes over "(", "6", "4", and a look-up by class number
# finds nothing, all without an error. Sweeps meet this, since itertools.product and dict.items() give tuples.
#
# Seen, asked for (64, 128), {"head": (0.5, 1.0)}, {1: "horse"}:
#   sizes = "(64, 128)"
#   range_of = {"head": "(0.5, 1.0)"}
#   names = {"1": "horse"}
#   recorded: {'sizes': [64, 128], 'range_of': {'head': [0.5, 1.0]}, 'names': {'1': 'horse'}}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "papermill==2.7.0" "nbformat==5.11.1"
cd "$folder"
venv/bin/python - <<'PYTHON'
import nbformat
import papermill

cell = nbformat.v4.new_code_cell("sizes = (32, 32)", metadata={"tags": ["parameters"]})
kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), "asked.ipynb")
values = {"sizes": (64, 128), "range_of": {"head": (0.5, 1.0)}, "names": {1: "horse"}}
papermill.execute_notebook("asked.ipynb", "made.ipynb", values, prepare_only=True, progress_bar=False)
made = nbformat.read("made.ipynb", 4)
injected = made.cells[1]
assert "injected-parameters" in injected.metadata.tags
print("\n".join(line for line in injected.source.splitlines() if "=" in line))
recorded = made.metadata.papermill.parameters
print("recorded:", {name: recorded[name] for name in values})
got = {}
exec(injected.source, got)
assert got["sizes"] == "(64, 128)" and got["range_of"] == {"head": "(0.5, 1.0)"}, "papermill writes tuples differently now"
assert got["names"] == {"1": "horse"}, "papermill writes the keys of a dict differently now"
assert recorded["sizes"] == [64, 128]
PYTHON
