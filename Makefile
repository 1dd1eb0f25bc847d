# demo: try it.  test: run the tests.  coverage: the same, measured.  check: lint and types.  format: rewrite.  clean: remove what make made.
# fuzz: hold each contract of tests/fuzz to ever new bytes, for FUZZ_SECONDS each.
# pyz: dist/gateway.pyz, the gateway in one file; for other machines too with PLATFORMS=all; EXTRAS=sharing to share news over a store.
# bench: measure; see bench/README.md.  profile: a flame graph of the gateway under the benchmark's ROW, profile-ROW.svg.  soak: see tests/soak.
# Another Python: make PYTHON=python3.13 ...    Another environment: make VENV=/somewhere ...

PYTHON ?= python3
VENV ?= .venv
FUZZ_SECONDS ?= 60
PLATFORMS ?= this
EXTRAS ?=
ROW ?= burst
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Bytecode is kept, whatever the shell says: else each worker, and each gateway that a test starts, compiles everything.
TEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses=auto

.PHONY: demo test coverage fuzz check format pyz bench profile soak clean

demo: $(VENV)/installed
	$(BIN)/gateway demo

test: $(VENV)/installed-dev
	$(TEST)

coverage: $(VENV)/installed-dev
	$(TEST) --cov=gateway --cov-branch

fuzz: $(VENV)/installed-dev
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest tests/fuzz

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pyz: $(VENV)/installed-dev
	$(BIN)/python .ci/pyz.py --platforms $(PLATFORMS) --extras '$(EXTRAS)'

bench: $(VENV)/installed-dev
	$(BIN)/python -m bench

profile: $(VENV)/installed-dev
	$(BIN)/python -m bench run --rows $(ROW) --peers gateway --rounds 1 --seconds 8 --out build/profile & sleep 4; \
	$(BIN)/py-spy record --pid $$(pgrep -n -f 'gateway serve') --rate 500 --duration 6 --output profile-$(ROW).svg; wait

soak: $(VENV)/installed-dev
	$(BIN)/python -m tests.soak

clean:
	rm -rf .venv build dist htmlcov .coverage *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find gateway tests bench -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed, and $(PYTHON) is not: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@new=yes; [ ! -e $(VENV) ] || new=; $(PYTHON) -m venv $(VENV) || \
	  { [ -z "$$new" ] || rm -rf $(VENV); echo "No environment could be made in $(VENV). On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(PIP) --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[dev]'
	touch $(VENV)/installed $@
