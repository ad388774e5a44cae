SOAKS := soak-attacks soak-kills soak-network soak-failover soak-fuzz soak-feed

.PHONY: help setup run test check format generate release-descriptors wheel lock bench bench-growth bench-replicas bench-soak bench-feed bench-docs soak $(SOAKS) audit clean
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
# buf and the plugins of protoc are in the virtual environment. With this PATH, make finds them without activating it.
export PATH := $(CURDIR)/$(BIN):$(PATH)

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-19s %s\n", $$1, $$2}'

setup: .venv/.ready ## Create .venv with all dependencies of the service and of development

.venv/.ready: requirements.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'mentor-status-sync needs Python 3.11 or newer. Choose one with PYTHON=/path/to/python3'; exit 1; }
	@echo 'Installing the dependencies into .venv. This takes about a minute.'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The benchmarks' dependencies are in the same environment, because `make check` checks the benchmarks' types too.
.venv/.bench-ready: .venv/.ready requirements-bench.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

run: setup ## Run the service on SQLite: REST on 127.0.0.1:8080, gRPC on 127.0.0.1:50051
	@exec $(BIN)/mentorsync up

test: setup ## Run all tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: .venv/.bench-ready .googleapis/.ready ## Run every static check
	ruff check
	ruff format --check
	mypy
	buf lint
	buf format --diff --exit-code
	$(MAKE) --no-print-directory generate
	git diff --exit-code -- generated
	@test -z "$$(git ls-files --others --exclude-standard -- generated)"
	@released=$$(ls protos/released/*.binpb 2>/dev/null | sort --version-sort | tail -n 1); \
	  if [ -z "$$released" ]; then echo 'buf breaking: skipped, because no version is released yet'; exit; fi; \
	  echo "buf breaking --against $$released"; buf breaking $(DESCRIPTOR_SET) --against "$$released"
	python -m mentorsync_gateway.validate

format: setup ## Format Python and protobuf files
	ruff check --fix
	ruff format
	buf format --write

# buf reads the imported google protos from this folder. They are copied from the wheel of googleapis-common-protos.
.googleapis/.ready: .venv/.ready Makefile
	@python -c 'import pathlib, shutil, google.api.http_pb2 as m; root = pathlib.Path(m.__file__).parents[2]; \
	  names = ["api/annotations", "api/http", "api/httpbody", "rpc/status", "rpc/error_details"]; out = pathlib.Path(".googleapis"); \
	  [((out / "google" / n).parent.mkdir(parents=True, exist_ok=True), \
	    shutil.copy(root / "google" / (n + ".proto"), out / "google" / (n + ".proto"))) for n in names]'
	@touch $@

DESCRIPTOR_SET := generated/mentorstatus/v1/descriptor_set.binpb

generate: setup .googleapis/.ready ## Regenerate generated/ from protos/
	buf build --exclude-source-info --output $(DESCRIPTOR_SET)
	python -m grpc_tools.protoc --descriptor_set_in=$(DESCRIPTOR_SET) \
	  --python_out=generated --mypy_out=quiet:generated mentorstatus/v1/mentor_status_sync.proto mentorstatus/v1/error_reason.proto
	python -m grpc_tools.protoc --descriptor_set_in=$(DESCRIPTOR_SET) \
	  --grpc_python_out=generated --mypy_grpc_out=quiet,only_async:generated mentorstatus/v1/mentor_status_sync.proto
	buf build --output -#format=binpb | python -m tools.openapi generated/mentorstatus/v1/openapi.yaml
	@touch generated/mentorstatus/__init__.py generated/mentorstatus/v1/__init__.py generated/mentorstatus/py.typed

wheel: setup ## Build the wheel in dist/, as deploy/Containerfile needs it
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

# `make check` compares every later version with the released one, so a released file is never changed.
release-descriptors: generate ## Keep this version's protos as released, for the check against breaking changes
	@mkdir -p protos/released; version=$$(python -c 'import mentorsync; print(mentorsync.__version__)'); \
	  released=protos/released/$$version.binpb; \
	  if [ -e "$$released" ]; then echo "$$released exists already: set a new version first"; exit 1; fi; \
	  cp $(DESCRIPTOR_SET) "$$released"; echo "wrote $$released"

lock: setup ## Update the lock files to the newest releases that pyproject.toml allows
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	uv pip compile $(LOCK_OPTIONS) --output-file requirements-client.lock pyproject.toml
	uv pip compile $(LOCK_OPTIONS) $(EXTRAS) --constraint requirements-client.lock --output-file requirements.lock pyproject.toml
	uv pip compile $(LOCK_OPTIONS) $(EXTRAS) --extra simulate --group dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	uv pip compile $(LOCK_OPTIONS) $(EXTRAS) --extra simulate --group bench --constraint requirements-dev.lock --output-file requirements-bench.lock pyproject.toml
	uv pip compile $(LOCK_OPTIONS) --group pyproject.toml:failover --output-file requirements-failover.lock
	uv pip compile $(LOCK_OPTIONS) --group pyproject.toml:audit --output-file requirements-audit.lock

LOCK_OPTIONS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header
EXTRAS := --extra server --extra gateway --extra postgres --extra tracing

BENCHMARK := $(BIN)/python -m tests.benchmarks

bench: .venv/.bench-ready ## Compare with FastAPI and others, 12 minutes (QUICK=1: one round, 100 s)
	$(BENCHMARK).compare $(if $(QUICK),--quick)

bench-growth: .venv/.bench-ready ## Measure at 1,000 to 10,000,000 events, 20 minutes and 18 GB of disk (QUICK=1: to 100,000)
	$(BENCHMARK).growth $(if $(QUICK),--quick)

bench-replicas: .venv/.bench-ready ## Measure 1 to 4 replicas on one PostgreSQL, 4 minutes (QUICK=1: 40 s)
	$(BENCHMARK).replicas $(if $(QUICK),--quick)

bench-soak: .venv/.bench-ready ## Record memory and file descriptors under load, 10 minutes (QUICK=1: 30 s)
	$(BENCHMARK).soak $(if $(QUICK),--quick)

bench-feed: .venv/.bench-ready ## Measure the live feed, 6 minutes (QUICK=1: one round, 1 minute)
	$(BENCHMARK).feed $(if $(QUICK),--quick)

bench-docs: .venv/.bench-ready ## Publish the figures of the last full runs in docs/performance.md and README.md
	$(BENCHMARK).refresh

soak: ## Run all the soaks below, over an hour (QUICK=1: a short run of each)
	@$(MAKE) --no-print-directory --keep-going $(SOAKS)

SOAK := $(BIN)/python -m tests

soak-attacks: .venv/.bench-ready ## Attack the service, 20 minutes (QUICK=1: 3 minutes)
	$(SOAK).attacks.soak $(if $(QUICK),--quick)

soak-kills: .venv/.bench-ready ## kill -9 under load, 1,000 rounds on each engine, 20 minutes (QUICK=1: 20 s)
	$(SOAK).soak.kills $(if $(QUICK),--quick)

soak-network: .venv/.bench-ready ## Disturb the network to PostgreSQL, 10 minutes (QUICK=1: 20 s)
	$(SOAK).soak.network $(if $(QUICK),--quick)

soak-feed: .venv/.bench-ready ## Test the live feed under faults, 1,000 rounds (QUICK=1: 40 rounds)
	$(SOAK).feed.soak $(if $(QUICK),--quick)

# PostgreSQL refuses to run as root. If root runs the tests, user nobody must be able to run this Python.
FAILOVER_PYTHON ?= $(PYTHON)

.venv-failover/.ready: requirements-failover.lock
	$(FAILOVER_PYTHON) -m venv --clear .venv-failover
	.venv-failover/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-failover.lock
	@touch $@

soak-failover: .venv/.bench-ready .venv-failover/.ready ## Kill primaries that Patroni replaces, 10 minutes (QUICK=1: 1 minute)
	$(SOAK).soak.failover $(if $(QUICK),--quick)

soak-fuzz: .venv/.bench-ready ## Send 110,000 random requests, 8 minutes (QUICK=1: 30 s)
	$(SOAK).soak.fuzz $(if $(QUICK),--quick)

.venv-audit/.ready: requirements-audit.lock
	$(PYTHON) -m venv --clear .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.lock
	@touch $@

audit: .venv/.ready .venv-audit/.ready ## Look up known vulnerabilities of all pinned packages (needs network access)
	$(BIN)/python -m tools.audit

clean: ## Remove the virtual environments, .googleapis, .benchmarks and dist
	rm -rf .venv .venv-audit .venv-failover .googleapis .benchmarks dist
