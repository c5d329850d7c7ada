# Everything here also works without make: see README.md. Each target makes what it needs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INVENTORY ?= inventories/local
ARGS ?=
# Installs in a tenth of pip's time. Where it is not to be had, or does not find the index that pip is configured for, pip does its work.
UV := uv==0.13.9
# Collections are most of the files, and next to none of those that run here.
define install
@{ $(BIN)/python -m pip install --quiet $(UV) && $(BIN)/uv pip install --quiet --no-cache --python $(BIN)/python -r $(1); } 2> /dev/null || \
  $(BIN)/python -m pip install --quiet -r $(1)
@$(BIN)/python -m compileall -qq -j 0 -x /ansible_collections/ $(VENV)/lib || true
endef

# Nothing of this checkout's runs is written to the user's home.
export ANSIBLE_HOME := $(CURDIR)/.cache/ansible
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help site check destroy doctor env test-env lint units integration test-kubernetes test test-long molecule bench bench-publish lock build clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

site: env ## Serve, monitor and verify the sample models on this machine
	ansible-playbook serving.triton.site -i $(INVENTORY) $(ARGS)

check: env ## Show what `make site` would change
	ansible-playbook serving.triton.site -i $(INVENTORY) --check --diff $(ARGS)

destroy: env ## Remove everything that `make site` made
	ansible-playbook serving.triton.destroy -i $(INVENTORY) $(ARGS)

doctor: env ## Diagnose this machine and its server
	ansible-playbook serving.triton.doctor -i $(INVENTORY) $(ARGS)

env: $(VENV)/.site-installed

test-env: $(VENV)/.tests-installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	mkdir -p $(VENV)/collections/ansible_collections/serving
	ln -sfn ../../../.. $(VENV)/collections/ansible_collections/serving/triton

$(VENV)/.site-installed: requirements.txt | $(VENV)/bin/python
	@echo "Installing Ansible and the clients into $(VENV)"
	$(call install,requirements.txt)
	@touch $@

$(VENV)/.tests-installed: tests/requirements.txt $(VENV)/.site-installed
	@echo "Installing the test tools into $(VENV)"
	$(call install,tests/requirements.txt)
	@touch $@

lint: test-env ## Check style and types
	ruff check .
	ruff format --check .
	MYPYPATH=$(VENV)/collections mypy plugins/module_utils

units: test-env ## Run the unit tests
	pytest -n 2 $(or $(TESTS),tests/unit)

integration: test-env ## Run the tests against real servers
	pytest -n 2 --dist loadfile $(or $(TESTS),tests/integration)

test-kubernetes: test-env ## Run the tests against a Kubernetes cluster: the stand-in, or SERVING_TRITON_TEST_KUBECONFIG
	pytest -n 2 --dist loadfile tests/unit/kubernetes \
	  $(wildcard $(addprefix tests/integration/test_,*kubernetes*.py *kserve*.py chart*.py helm*.py cluster*.py device_plugin*.py))

# One run, so that its last lines count everything, what was skipped and why included. In the files' order: xdist's own begins those of few tests
# last, which are the long ones here. The units are short, so that at the end no worker waits long for the others.
test: test-env lint ## Run all tests: lint, units, integration against real servers
	pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 15 tests/integration tests/unit

test-long: export SERVING_TRITON_TEST_LONG := 1
test-long: test-env ## Run what `make test` leaves out because it takes long
	pytest -n 2 -m long tests/integration

# Needs root, podman, runc and mmdebstrap. SCENARIO=gpu_driver runs that one alone.
molecule: export CONTAINERS_CONF := $(CURDIR)/extensions/molecule/shared/containers.conf
molecule: export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/$(VENV)/collections
molecule: export SERVING_TRITON_TEST_MOLECULE := all
molecule: test-env ## Run every molecule scenario, then the tests that hold them to their promises
	molecule test $(if $(SCENARIO),--scenario-name $(SCENARIO),--all)
	$(if $(filter server_host,$(SCENARIO)),@true,pytest -n 0 tests/integration/test_molecule.py $(if $(SCENARIO),-k $(SCENARIO)))

bench: test-env ## Measure against the peers: lines `ratio NAME PEER VALUE`
	python -m benchmarks $(ARGS)

bench-publish: test-env ## Publishing to S3 against s5cmd, aws, rclone and s3_sync, with a plot
	python -m benchmarks publish

build: env ## Build the collection's archive
	ansible-galaxy collection build --force

lock: env ## Renew requirements.txt and tests/requirements.txt from their .in files
	$(BIN)/python -m pip install --quiet $(UV)
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate \
	  -o requirements.txt requirements.in
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate \
	  -c requirements.txt -o tests/requirements.txt tests/requirements.in

clean: ## Remove the environments and caches of this checkout
	rm -rf $(VENV) .cache
