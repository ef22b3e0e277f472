# Everything a new machine needs is Python 3.11 or newer and make. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BROWSER_READY := $(VENV)/.browser
WORKERS ?= 2
PROFILE ?= demo
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help env demo tables test test-all test-browser test-faults lint format lab browse gallery bench gpu-wheels gpu-check clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY) ## build the environment in .venv (again only when pyproject.toml has changed)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and "Python 3.11 or newer is needed, this is %d.%d. Name another: make PYTHON=python3.12" % v)'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $(READY)

demo: $(READY) ## run the main job: drawn scenes, all notebooks, the report in reports/demo
	$(BIN)/workbench run --profile demo $(ARGS)

tables: $(READY) ## fill the paper's tables for PROFILE, five seeds; the page is in reports/PROFILE-tables
	$(BIN)/workbench tables --profile $(PROFILE) $(ARGS)

test: lint ## check style, then run the tests, in minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-all: lint ## the same with the slow tests: kernels, several processes, layouts at size
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not browser" $(ARGS)

test-browser: $(BROWSER_READY) ## test the widgets in JupyterLab and Chromium, minutes; ARGS=--screens renews reports/screens
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests/browser $(ARGS)

test-faults: $(READY) ## break inputs of every reader, kill and stop runs, print the counts; up to an hour; ARGS="--seed 7"
	OMP_NUM_THREADS=1 PYTHONPATH=.:data $(BIN)/python -m tests.faults.mutating $(ARGS)
	PYTHONPATH=.:data $(BIN)/python -m tests.faults.killing $(ARGS)

# An installed Chromium is used; else Playwright fetches its own.
$(BROWSER_READY): pyproject.toml $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,browser]'
	@command -v chromium || command -v chromium-browser || command -v google-chrome || command -v google-chrome-stable \
	|| $(BIN)/python -m playwright install chromium \
	|| { echo "No Chromium. Install one: apt-get install chromium"; exit 1; }
	@touch $(BROWSER_READY)

lint: $(READY) ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## put style and format right where that can be done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lab: $(READY) ## open JupyterLab on the notebooks of the latest run, with its values; ARGS=RUN opens another
	$(BIN)/workbench lab $(ARGS)

browse: $(READY) ## look at triplets, predictions, the feature map and runs by themselves; ARGS="--run NAME"
	$(BIN)/workbench browse $(ARGS)

gallery: $(READY) ## make docs/gallery, a site without a run, from the pages of the finished demo
	$(BIN)/python docs/gallery.py $(ARGS)

bench: $(READY) ## measure speed, write reports/bench.json
	$(BIN)/workbench bench $(ARGS)

# Two steps, since a machine with a GPU may have no network: the wheels are for Python 3.12 on Linux.
gpu-wheels: ## fetch into .wheels what gpu-check needs beside torch, NumPy, pandas, pyarrow, scikit-learn, safetensors
	$(PYTHON) -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
	  $(foreach glibc,28 27 26 24 17,--platform manylinux_2_$(glibc)_x86_64) --platform manylinux2014_x86_64 \
	  --platform manylinux2010_x86_64 --platform manylinux1_x86_64 --dest .wheels --requirement reports/gpu_check/wheels.txt

gpu-check: ## check and measure on a GPU, at most 8 minutes, into reports/reference/gpu.json; ARGS="--device cpu" rehearses
	PYTHONPATH=reports $(PYTHON) -m gpu_check --wheels .wheels $(ARGS)

clean: ## remove the environment and caches; data and reports stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find workbench tests notebooks data/annotated_scenes data/drawn_scenes data/own_features data/published_scenes data/simulated_scenes -name __pycache__ -type d -prune -exec rm -rf {} +
