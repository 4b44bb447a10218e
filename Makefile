# `make demo` and `make test` set up everything they need; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUST := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock pyproject.toml
BUILT := $(VENV)/.built

.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-python torture test-neon build lint format bench bench-instructions bench-quality bench-learned train-judge bench-smoke soak wheel model model-wheel clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

demo: $(BUILT)  ## the main job on real questions: embed, fill, ask, save, reopen, report
	$(BIN)/bsc demo

test: test-rust test-python  ## the whole suite

test-rust: | $(VENV)/.installed
	cargo test --workspace --locked

test-python: $(BUILT)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

torture: $(BUILT)  ## ten times the fault tests: kills, power cuts, failing disks, damage, clocks, crowds, cut streams (half an hour or so)
	TORTURE_TIMES=10 $(BIN)/python -m pytest -rP tests/test_torture_*.py tests/test_proxy_faults.py

SOAK_MINUTES ?= 30
soak: $(BUILT)  ## the proxy under mixed load with faults, every answer judged (SOAK_MINUTES=30)
	PYTHONPATH=tests $(BIN)/python tests/soak.py --minutes $(SOAK_MINUTES)

test-neon:  ## the Rust suite for aarch64 under emulation (Debian packages: see scripts/test-neon)
	scripts/test-neon

build: $(BUILT)  ## the virtual environment with the extension, release profile

lint: $(BUILT)  ## rustfmt, clippy, ruff, mypy, stubtest, import-linter, cargo-deny where installed
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benches
	$(BIN)/mypy training
	$(BIN)/python -m mypy.stubtest binary_semantic_cache.binary_semantic_cache_rs
	$(BIN)/lint-imports
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check licenses bans sources; \
	else echo 'cargo-deny: skipped, not installed (cargo install cargo-deny --locked)'; fi

format: $(BUILT)  ## rewrite the sources in the house style
	cargo fmt
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BUILT)  ## measure against NumPy, FAISS, usearch and other caches (12 to 20 minutes; leave the machine alone)
	$(BIN)/python -m benches

bench-quality: $(BUILT)  ## right and wrong answers served on labelled pairs (4 minutes on an idle machine; docs/quality.md)
	$(BIN)/python -m benches.quality --full

bench-learned: $(BUILT)  ## whether the learned policy keeps its budget, 20 seeds (minutes; docs/budget.md)
	$(BIN)/python -m benches.learned

train-judge: $(BUILT)  ## the judge's model anew, the same bytes each time (needs `make model`; 3 minutes; docs/judge.md)
	$(BIN)/python -m training.judge train

bench-instructions: $(BUILT)  ## instructions of kernels and calls under callgrind, against the record (needs valgrind)
	$(BIN)/python -m benches.instructions

bench-smoke: $(BUILT)  ## every benchmark, small, to see that it runs and that results are equal
	$(BIN)/python -m benches --smoke
	$(BIN)/python -m benches.quality --smoke
	$(BIN)/python -m benches.learned --smoke
	$(BIN)/python -m benches.proxy --smoke

wheel: $(VENV)/.installed  ## dist/: one abi3 wheel for CPython 3.11 and later
	$(BIN)/maturin build --release --locked --out dist

model: $(BUILT)  ## fetch, verify and convert the local embedding model
	$(BIN)/bsc model install

model-wheel: model  ## dist/: a wheel that carries the converted model
	$(BIN)/python packaging/model-wheel/build.py

clean:  ## remove what was built
	rm -rf target $(VENV) dist build
	find python -name '*.so' -delete

$(VENV)/.installed: requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(BUILT): $(VENV)/.installed $(RUST)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --extras local --quiet
	@touch $@
