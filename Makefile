PYTHON ?= python3
# One environment for each version: switching never takes what another one installed.
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# As many as two cores have room for, beside the servers and roles of Nexus that tests start: a third made it no faster.
WORKERS ?= 2
TESTS = $(BIN)/python -m pytest -n $(WORKERS)

# Tests start hundreds of processes: what they import is compiled once, whatever the machine is used to.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test check simulate services services-stop chaos bench image test-image lint pages clean

help: ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Nexus needs Python 3.11 or newer, $(PYTHON) is older: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,examples]'
	@touch $@

demo: $(INSTALLED) ## Start Nexus, run the examples, show what happened
	$(BIN)/python examples/demo.py

test: $(INSTALLED) ## All checks and all tests
	$(TESTS)

check: $(INSTALLED) ## What a commit has to pass: lint, types, and the tests that need no server
	$(TESTS) -m "not servers and not slow"

services: $(INSTALLED) ## Start Kafka, Cassandra, S3 and Kubernetes on this machine, and print their addresses
	$(BIN)/python -m infra.services start

services-stop: $(INSTALLED) ## Stop them; what they hold stays
	$(BIN)/python -m infra.services stop

simulate: $(INSTALLED) ## Run SEEDS=10000 simulations, or SEED=123 with its schedule
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000) --kept)

MINUTES ?= 20
chaos: $(INSTALLED) ## Kill everything on real servers under load for MINUTES, and count what came of it
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --seed $(or $(SEED),1)

bench: $(INSTALLED) ## Measure, and write docs/benchmarks.md
	$(BIN)/python -m tests.bench

image: $(INSTALLED) ## Build the image nexus:<version> by Docker, Podman or Buildah
	$(BIN)/python -m infra.image

test-image: $(INSTALLED) ## Build it, run the suites that need no server inside, then each role in it, on real servers
	$(BIN)/python -m infra.image --tests
	$(BIN)/python -m pytest tests/e2e/in_the_image.py

lint: $(INSTALLED) ## Format the code, then check it
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/mypy
	$(BIN)/lint-imports

pages: $(INSTALLED) ## Write the committed files that are made from code: OpenAPI, docs/diagnosis.md
	$(BIN)/python -m docs.pages

clean: ## Remove what was installed and what Nexus kept here
	rm -rf .venv .venv-* .nexus
