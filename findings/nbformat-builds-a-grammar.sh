#!/usr/bin/env bash
# nbformat 5.11.1 with jsonschema's format checkers, as JupyterLab installs them: import nbformat builds a Lark grammar.
#
# jupyter_events asks for jsonschema[format-nongpl], which brings rfc3987-syntax. jsonschema imports every format checker
# that is there when it is imported itself, and rfc3987-syntax builds its parser at import. nbformat uses none of it to
# read a notebook, yet every process that reads one pays: the runner, each pytest (nbval imports nbformat as a plugin),
# each page that is written. Without rfc3987-syntax the same import reads and validates the same notebook.
#
# Seen (nbformat 5.11.1, jsonschema 4.26.0, rfc3987-syntax 1.1.0, two cores at work):
#   with the grammar: 1.89 True; without: 0.19 False (seconds, whether lark was imported)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "nbformat==5.11.1" "jsonschema[format-nongpl]==4.26.0" "rfc3987-syntax==1.1.0"
cat > "$folder/look.py" <<'PYTHON'
import sys
import time

if sys.argv[1] == "without":
    sys.modules["rfc3987_syntax"] = None  # jsonschema leaves out the checker that it cannot import
started = time.perf_counter()
import nbformat

seconds = time.perf_counter() - started
nbformat.validate(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]))
print(f"{seconds:.2f} {'lark' in sys.modules}")
PYTHON
for run in 1 2; do # the first writes the bytecode
  with=$("$folder/venv/bin/python" "$folder/look.py" with)
  without=$("$folder/venv/bin/python" "$folder/look.py" without)
done
echo "with the grammar: $with; without: $without (seconds, whether lark was imported)"
[ "${with#* }" = True ] && [ "${without#* }" = False ] || { echo "nbformat or jsonschema behaves differently now"; exit 1; }
