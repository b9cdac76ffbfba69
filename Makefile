# `make up` and `make test` are all that a fresh machine needs: both make .venv first, and again only when
# pyproject.toml or constraints.txt changed.

PYTHON := .venv/bin/python
INSTALLED := .venv/.installed
# What of tests/acceptance has a Redis under it that may be a Cluster; the rest starts its own, or needs none.
ON_CLUSTER := access contract_bodies contract_errors contract_health contract_history contract_idempotency \
	contract_money contract_waiting contract_wallets drain limits operations raw_sockets schemathesis stopping

.DEFAULT_GOAL := help
.PHONY: help up test test-cluster faults model bench bench-quick inspector-scale check constraints clean
.DELETE_ON_ERROR:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

$(INSTALLED): pyproject.toml constraints.txt
	@sh devstack/environment.sh

# `exec`: Ctrl-C then reaches the program alone, which ends well, and make has nothing to complain about.
# When it fails, make adds its own line (*** Error 1) and ends with 2: only `python -m devstack up` has the program's exit
# code, 1. The line goes away for no recipe that fails, short of pretending that it did not.
up: $(INSTALLED) ## Run the service at http://127.0.0.1:8000 until Ctrl-C (PORT=8000 WORKERS=1 DATA_DIR=.data)
	@exec $(PYTHON) -m devstack up

test: $(INSTALLED) ## Run every test (ARGS="-k name" for some)
	@exec $(PYTHON) -m pytest -n 3 --dist worksteal $(ARGS)

test-cluster: $(INSTALLED) ## Run the acceptance tests on a Redis Cluster of three nodes
	@ON_CLUSTER=1 exec $(PYTHON) -m pytest -n 2 $(addprefix tests/acceptance/test_,$(addsuffix .py,$(ON_CLUSTER))) $(ARGS)

faults: $(INSTALLED) ## Break everything under load, one thing after another (some 8 minutes; ARGS="redis-killed" for some)
	@exec $(PYTHON) -m tests.faults.run $(ARGS)

bench: $(INSTALLED) ## Measure the service beside its baselines, on a machine that rests (ARGS="--only one-wallet --seconds 5")
	@exec $(PYTHON) -m bench $(ARGS)

bench-quick: $(INSTALLED) ## The first three scenarios of the bench, once each, in under a minute
	@exec $(PYTHON) -m bench --quick $(ARGS)

model: $(INSTALLED) ## Ask a running service 100,000 things and compare it with a model (some minutes; ARGS="--requests 5000")
	@exec $(PYTHON) -m tests.model.run $(ARGS)

inspector-scale: $(INSTALLED) ## Look at a million waiting wallets with the inspector (some minutes; ARGS=100000 for fewer)
	@exec $(PYTHON) -m tests.inspector_scale $(ARGS)

check: $(INSTALLED) ## Lint, format and types, as CI does
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

constraints: $(INSTALLED) ## Take the newest versions of everything and write them to constraints.txt
	rm -rf build/newest
	$(PYTHON) -m venv build/newest
	build/newest/bin/python -m pip install --quiet --disable-pip-version-check '.[dev]'
	{ sed -n '/^#/p' constraints.txt; build/newest/bin/python -m pip freeze | grep -v '^wallet-streams'; } > build/newest.txt
	mv build/newest.txt constraints.txt
	rm -rf build/newest

clean: ## Remove .venv and everything else that was made, except the data in .data
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
