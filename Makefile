# Two commands: `make demo` and `make test`. Each makes the environment if it is missing.
# Needs Python 3.11 or newer and make; PYTHON=... names another interpreter.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN = .venv/bin
# One thread for each of two test workers: two threads on two busy cores are slower than one.
ENVIRONMENT = OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

.PHONY: demo test check-style results clean

demo: .venv/ready
	$(ENVIRONMENT) $(BIN)/python -m tameshi check q-filters --output demo
	@echo "report: $(CURDIR)/demo/report.html"

test: .venv/ready check-style
	$(ENVIRONMENT) $(BIN)/python -m pytest -n 2 --dist worksteal

check-style: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python -m mypy

results: .venv/ready
	$(BIN)/python -m tameshi results --from results --output RESULTS.md

.venv/ready: pyproject.toml constraints.txt
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all]"
	touch .venv/ready

clean:
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
