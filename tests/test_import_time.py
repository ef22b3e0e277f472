"""Importing the package and asking for help load nothing heavy."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "pandas", "numpy", "open_clip", "nltk", "umap", "sklearn", "diffusers", "plotly", "nbformat")
ROOMS = ("scenes", "regions", "language", "diffusion", "recognition", "figures", "browsers", "tables", "runs")


@pytest.mark.parametrize(("code", "may_be_loaded"), [
    ("; ".join(f"import workbench.{room}" for room in ROOMS), ()), ("import workbench.runs.commands", ("numpy",)),
    ("from workbench.__main__ import build_parser; build_parser().format_help()", ()),
    ("import workbench.diffusion.sample, workbench.diffusion.train", set(HEAVY) - {"diffusers"}),
])  # fmt: skip
def test_nothing_heavy_is_loaded_before_it_is_needed(code, may_be_loaded):
    report = f"import sys\n{code}\nprint(*sorted(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) <= set(may_be_loaded)
