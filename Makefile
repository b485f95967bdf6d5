# Everything a newcomer or CI runs.  `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What the nodes of the demo enforce with, and the servers that tests start themselves.
NODE_PACKAGES := nftables iproute2 procps
TEST_PACKAGES := $(NODE_PACKAGES) postgresql slapd ldap-utils freeradius rsyslog rsyslog-openssl
PEER_PACKAGES := etcd-server wrk apache2-utils openssl util-linux
ARGS ?=
# Test processes; two cores have time for four, since many tests wait for programs they start.
JOBS ?= 4

# $(call apt_install,PACKAGES,WHAT HAPPENS WITHOUT): installs only what is missing.
define apt_install
missing=""; for package in $(1); do \
  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; done; \
if [ -z "$$missing" ]; then :; \
elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null \
    || echo "Could not install$$missing; $(2)."; \
else echo "Not root, or no apt-get:$$missing not installed; $(2)."; fi
endef

.DEFAULT_GOAL := help
.PHONY: help install servers nodes format lint test test-unit golden peers soak simulate chaos bench demo clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Hanse needs Python 3.11 or newer; set PYTHON=")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq python3-venv; else echo "Install python3-venv first." >&2; exit 1; fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

install: $(STAMP) ## Create the virtual environment and install Hanse into it

servers: ## Install the system packages that the tests can use (as root, with apt-get)
	@$(call apt_install,$(TEST_PACKAGES),tests whose server is missing will be skipped by name)

nodes: ## Install what nodes enforce with (as root, with apt-get)
	@$(call apt_install,$(NODE_PACKAGES),the demo will use the simulated data plane unless nft and ip are there)

format: install ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: install ## Check style, types and import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --follow-imports=silent --package tests.bench
	$(BIN)/lint-imports

# Hundreds of the tests start programs, each of which would else compile all that it imports.
test: export PYTHONDONTWRITEBYTECODE =
test: install servers ## Run every test, installing what they need
	$(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS)

test-unit: install ## Run the tests that need no server, in seconds
	$(BIN)/pytest tests/unit tests/architecture $(ARGS)

golden: install ## Re-record the golden files; look at the diff before you commit it
	$(BIN)/pytest tests --update-golden -m "not kernel" $(ARGS)

peers: install servers ## Install what the benchmarks compare with
	@$(call apt_install,$(PEER_PACKAGES),their benchmarks will fail by name)
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --requirement tests/bench/peers/requirements.txt

soak: install ## Run for an hour and see that nothing grows; ARGS="feed --minutes 5 --draw FOLDER"
	$(BIN)/python -m tests.soak $(ARGS)

simulate: install ## Run a federation in memory through seeded mishaps; ARGS="--seeds 500 --start 1 --large" or "--disagreeing"
	$(BIN)/python -m tests.simulation $(ARGS)

chaos: install nodes ## Kill, cut and stall a real federation (as root); ARGS="--seed 7 --kills 500"
	$(BIN)/python -m tests.chaos $(ARGS)

bench: peers ## Measure speed beside the peers; ARGS="reads --json FILE --draw FOLDER --quick"
	$(BIN)/python -m tests.bench $(ARGS)

demo: install nodes ## Run the two-sites story; ARGS=--exit ends instead of staying up
	$(BIN)/hanse demo $(ARGS)

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
