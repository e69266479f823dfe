# The front door: `make run` and `make test` do everything that a fresh machine needs.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
INTEGRATION := .venv-integration
BENCH := .venv-bench
CHROMIUM := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
LIB := llamahttp/_lib/current
# Options of build_lib.sh, for example: make setup LIB_ARGS="--cuda on"
LIB_ARGS ?=
# Flags of the program, for example: make run ARGS="-m model.gguf --port 9000"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test integration check reference reference-tests bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed $(VENV)/.library webui ## create .venv, install the package, build libllama and the web UI

run: setup ## serve; ARGS="-m model.gguf --port 9000" passes flags on
	@exec $(VENV)/bin/llamahttp $(ARGS)

test: setup reference $(if $(CHROMIUM),$(VENV)/.browser) ## run every test; ARGS="tests/test_flags.py -x" narrows it down
	@$(PY) -m pytest $(ARGS)

integration: setup $(INTEGRATION)/.installed ## test with LangChain, LiteLLM, locust and more, which are heavy
	@$(INTEGRATION)/bin/python -m pytest $(or $(ARGS),tests/test_clients_frameworks.py tests/test_bench_locust.py tests/test_bench_traffic.py tests/deploy)

reference-tests: setup reference ## run llama-server's own tests against it and against llamahttp; ten minutes
	@$(PY) scripts/reference_tests.py $(or $(ARGS),--write)

check: $(VENV)/.dev ## lint, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

reference: $(VENV)/.installed ## build llama-server itself too, for comparison; prints its path
	@./build_lib.sh --reference $(LIB_ARGS)

bench: setup reference $(BENCH)/.installed ## measure beside llama-server, 25 minutes; ARGS="--quick" 5; tables and plots in bench/out
	@$(BENCH)/bin/python -m bench.peers $(BENCH)-peers
	@$(BENCH)/bin/python -m bench --peers $(BENCH)-peers $(ARGS)

clean: ## forget the environment and the installed library; finished builds stay in their cache
	rm -rf $(VENV) $(INTEGRATION) $(BENCH) $(BENCH)-peers bench/out llamahttp/_lib llamahttp/assets/webui webui/node_modules build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.created:
	@PYTHON="$(PYTHON)" ./scripts/make_venv.sh $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created setup.cfg pyproject.toml
	@echo "Installing llamahttp and what its tests need into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[test,dev]'
	@touch $@

$(VENV)/.browser: $(VENV)/.installed
	@echo "Installing what drives $(CHROMIUM) in tests of the web UI"
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[test,browser]'
	@touch $@

$(INTEGRATION)/.installed: setup.cfg pyproject.toml | $(VENV)/.created
	@PYTHON="$(PYTHON)" ./scripts/make_venv.sh $(INTEGRATION)
	@echo "Installing clients and tools into $(INTEGRATION)"
	@$(INTEGRATION)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test,integration]'
	@touch $@

$(BENCH)/.installed: setup.cfg pyproject.toml | $(VENV)/.created
	@PYTHON="$(PYTHON)" ./scripts/make_venv.sh $(BENCH)
	@echo "Installing what measures and plots into $(BENCH)"
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

.PHONY: webui
webui: | $(VENV)/.installed
	@PYTHON="$(CURDIR)/$(PY)" ./scripts/build_webui.sh

# What a library is built with; build_lib.sh itself knows whether a change of these needs anything to be compiled.
RECIPE := build_lib.sh $(wildcard scripts/build_lib/*) $(addprefix llamahttp/binding/,abi.py functions.py mtmd_functions.py structs.py)

$(VENV)/.library: $(RECIPE) $(if $(wildcard $(LIB)),,no-library) | $(VENV)/.installed
	@PYTHON="$(CURDIR)/$(PY)" ./build_lib.sh $(LIB_ARGS)
	@touch $@

.PHONY: no-library
no-library:
