PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: run test test-slow check bench mutants fuzz attack wheel clean

run: $(READY)
	$(BIN)/sdsearch train specs/sd_search.yaml --fresh

# A process a core, each with one thread: threads that outnumber the cores wait for each other.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --dist worksteal

test-slow: $(READY)
	$(BIN)/pytest -q -m slow

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/against_trl.py
	$(BIN)/python benchmarks/rollout.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/attack.py

# Slow: about half an hour on one core, and it goes on where it was stopped.
mutants: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/mutants.py

# Damaged and hostile specs, files of data and of runs, fifty times as many as the suite tries.
fuzz: $(READY)
	OMP_NUM_THREADS=1 SDSEARCH_FUZZ=30000 $(BIN)/pytest -q tests/test_hostile.py tests/envs/data/test_fuzz.py tests/report/test_damaged.py

# Slow: kills, two processes in one folder, failing parts and damaged files, with counts.
attack: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/faults.py

wheel: $(READY)
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/pytest -q tests/test_packaging.py -m "slow or not slow"

clean:
	rm -rf build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
