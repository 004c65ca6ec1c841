# make demo: set everything up and run scenarios/quickstart.yaml on real servers
# make test: set everything up, check, and pass all tests

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test check docs readme bench trial clean

setup: $(READY)
	containers/install-packages servers

$(READY): pyproject.toml constraints.txt
	containers/install-packages python
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/heartbench run scenarios/quickstart.yaml

# Most tests wait for timeouts of real servers: four at a time keep two cores busy. Those that hold
# times to account have seconds to spare: two files at a time leave them their processor.
test: setup check
	containers/install-packages browser
	$(BIN)/pytest -m "not alone" --numprocesses 4 --dist worksteal --benchmark-disable
	$(BIN)/pytest -m alone --numprocesses 2 --dist loadfile --no-loadscope-reorder --benchmark-disable

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy docs/examples/heartbench-directory/heartbench_directory.py
	$(BIN)/mypy docs/conf.py docs/extensions
	$(BIN)/lint-imports --no-cache

# The documentation's site, in build/docs; it executes the notebooks, a minute. Every warning is an error.
docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going --quiet --jobs 2 docs build/docs

# The headline's table and figure, from the committed result.
readme: $(READY)
	$(BIN)/heartbench report results/examples/equal-detection -o README.md
	$(BIN)/heartbench report results/examples/equal-detection -o docs/figures/equal-detection.svg

bench: setup
	$(BIN)/pytest tests/benchmarks --benchmark-only --benchmark-columns=mean,rounds -s

# The model on trial, in two hours on a quiet machine: what its servers take, what it is to predict, how far
# off it is. An objective that isn't met (-) is no reason to stop.
LIVE := -$(BIN)/heartbench run --servers local --out results/trial
FAULTS := --set phases.1.fault.select.count
LATER_FAULTS := --set phases.3.fault.select.count

trial: setup
	$(BIN)/heartbench calibrate --servers local -o results/trial/calibration.json
	$(LIVE) freeze --set services.count=2_000 --set services.ramp=500/s $(LATER_FAULTS)=500 --repeat 2
	$(LIVE) zk-leader-kill $(FAULTS)=150 --set phases.4.fault.select.count=150 --repeat 14
	$(LIVE) pg-restart --repeat 2
	$(LIVE) crash-10k --set phases.1.fault.select.fraction=10% --repeat 3
	$(LIVE) power-loss --set services.count=2_000 $(FAULTS)=350 $(LATER_FAULTS)=350 --repeat 6
	$(LIVE) nova-defaults $(FAULTS)=1_000
	$(LIVE) clock-skew --set services.count=1_000 --set services.library=500 --set services.ramp=25/s \
	  $(FAULTS)=250 --set phases.1.fault.over=10s --set phases.2.hold=25s \
	  $(LATER_FAULTS)=250 --set phases.3.fault.over=10s --set phases.4.hold=25s --repeat 2
	$(BIN)/heartbench compare results/trial/*/latest --against-model --calibration results/trial/calibration.json

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
