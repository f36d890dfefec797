# Every verb sets up what it needs, reads no input, and uses .venv without activating it.
# `make help` lists them.

# An interpreter to build .venv with; unset, the first of python3.11, python3.12, python3.13 and python3
# that starts and is in range (tools/with_python.sh).
PYTHON ?=
# Processes for the tests. Two: a notebook alone keeps one core busy most of the time.
JOBS ?= 2
# Further arguments for pytest, tools/gpu.py or tools/bench.py.
ARGS ?=

export PYTHON
# What another project's environment leaves behind in the shell must not reach ours.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV
# Kernels come from .venv even where the user has one of the same name.
export JUPYTER_PREFER_ENV_PATH = 1

# The matrices are small, and the tests run in two processes: more threads than cores wait for each other.
export OMP_NUM_THREADS ?= 1

BIN := .venv/bin
STEP := $(BIN)/python tools/step.py
BUILD := $(BIN)/jupyter-book build . -W -n --keep-going --all
# The instruction sets of an older CPU: does a printed digit survive them?
OLD_CPU := OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 \
	ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=NEHALEM

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help book test notebooks lint soak gpu bench lock environment clean clean-all

help:  ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# With PYTHON given, .venv must have that Python; else a complete .venv is taken as it is, at once.
environment:  ## Build or update .venv from requirements.lock (every other verb does this first)
	@if [ -n "$$PYTHON" ]; then \
		sh tools/with_python.sh tools/setup_environment.py --this-python; \
	else \
		$(BIN)/python tools/setup_environment.py --check 2>/dev/null \
			|| sh tools/with_python.sh tools/setup_environment.py; \
	fi

book: ## Build the book; prints where to open it and what each part took
	@begun=$$(date +%s); $(MAKE) --no-print-directory environment \
		&& $(STEP) --keep environment $$(( $$(date +%s) - begun ))
	@$(STEP) notebooks $(BIN)/python tools/notebooks.py refresh
	@$(STEP) book $(BIN)/python tools/build_book.py $(BUILD)
	@$(STEP) --report environment notebooks book

# The style is checked first but does not stop the tests, so that pytest has the last word.
test: environment ## Lint, unit tests, doctests, guards, and every notebook's outputs; ARGS='-k witness' narrows it
	@$(BIN)/python -m ruff check . && style=0 || style=1; \
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope --nbval tests neuinv notebooks $(ARGS) || exit $$?; \
	[ $$style = 0 ] || { echo "error: the tests pass and the style check does not: run make lint" >&2; exit 1; }

notebooks: environment ## Re-execute the notebooks whose source changed; ALL=1 re-executes every one
	@$(STEP) notebooks $(BIN)/python tools/notebooks.py refresh $(if $(ALL),--all)

lint: environment ## Check the style of the code
	@$(BIN)/python -m ruff check .

soak: environment ## The long tests, and the notebooks once more as on an older CPU (many minutes)
	@rm -f book/results/soak/record-*.json
	@NEUINV_RUN_DIR=book/results/soak $(BIN)/python -m pytest tests -m soak -s $(ARGS)
	@$(OLD_CPU) $(BIN)/python -m pytest -n $(JOBS) --dist loadscope --nbval notebooks

gpu: environment ## Run every notebook on a CUDA device and compare its printed numbers
	@$(BIN)/python tools/gpu.py $(ARGS)

bench: environment ## Time methods of inversion on this machine; DEVICE=cuda takes a GPU (8 minutes)
	@$(BIN)/python tools/bench.py $(ARGS)

lock: environment ## Resolve requirements.lock again from pyproject.toml; UPGRADE=1 takes the newest versions
	@$(BIN)/python tools/make_lock.py $(if $(UPGRADE),--upgrade)

clean: ## Remove the built book and every cache
	@rm -rf _build .pytest_cache .ruff_cache .hypothesis
	@find . \( -path ./.venv -o -path ./.git \) -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) \
		-exec rm -rf {} +

clean-all: clean ## Remove .venv as well
	@rm -rf .venv neuinv.egg-info
