# Agon: `make demo` shows it, `make test` checks it. Needs Python 3.11 with venv, and nothing else.

PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.agon-installed

# A machine whose only Python 3.11 is called python3 will do as well.
ifeq ($(shell command -v $(PYTHON) 2>/dev/null),)
PYTHON := python3
endif

# Math libraries share the cores with the test workers; one thread each keeps them from fighting.
TEST_ENV := OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help setup demo reproduce test test-long lint docs manifests clean
.NOTPARALLEL:

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(STAMP)  ## make .venv and install everything in it (once)

$(STAMP): pyproject.toml requirements.lock service/web/package-lock.json
	@PYTHON="$(PYTHON)" VENV="$(VENV)" .ci/setup.sh
	@touch $@

demo: setup  ## the whole path, from a REST request to a model pulled from the registry (runs/demo: samples.png and a report)
	@exec $(BIN)/python -m service.demo $(ARGS)

reproduce: setup  ## RECIPE=infogan (or all): train it on MNIST=zip or folder (or CIFAR10=), measure it as its paper does
	@exec $(BIN)/python -m benchmarks.reproduce $(or $(RECIPE),all) $(if $(MNIST),--mnist '$(MNIST)') $(if $(CIFAR10),--cifar10 '$(CIFAR10)') $(ARGS)

test: setup  ## lint, types, import rules and the tests that fit in ten minutes of two cores
	@$(TEST_ENV) BIN="$(BIN)" .ci/check.sh test

test-long: setup  ## what takes longer: kills, elastic groups, lost nodes, learning, PostgreSQL throughout, many more examples
	@$(TEST_ENV) BIN="$(BIN)" .ci/check.sh long

images-check: setup  ## build the images with buildah, as root, and run each; takes a quarter of an hour (ARGS='--keep DIR control')
	@$(BIN)/python tests/deploy/images $(ARGS)

lint: setup  ## ruff, mypy and import rules alone
	@BIN="$(BIN)" .ci/check.sh lint

docs: setup  ## write docs/spec.md and docs/cli.md anew from the schema and the command
	@$(BIN)/python -m service.specs.doc && $(BIN)/python -m service.cli.doc

manifests: setup  ## write each Kubernetes overlay as one file, build/manifests/OVERLAY/install.yaml (REGISTRY=, TAG= of the images)
	@KUBECTL="$(CURDIR)/$(BIN)/kubectl" REGISTRY="$(REGISTRY)" TAG="$(TAG)" k8s/manifests.sh $(OVERLAY)

clean:  ## remove caches and .venv (runs/ stays)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
