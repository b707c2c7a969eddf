# Every target sets up what it needs; `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

bin := $(VENV)/bin
ready := $(VENV)/.ready
demo_command = $(bin)/shortlist train ml100k-ids --output runs/demo --force && \
	$(bin)/shortlist recommend runs/demo --user 42 -k 10

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-dist test-examples test-savedmodel \
	test-node test-postgres test-server test-schemathesis test-deploy test-browser test-all lint \
	format types dist lock check-locks architecture readme figures figures-long docs notebooks \
	bench bench-full bench-serve clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# $(call environment,FOLDER,LOCKED): a new Python environment that holds what is locked.
define environment
@mkdir -p $(dir $(1))
@$(PYTHON) -m venv --clear $(1) || { echo "no ensurepip here: taking the pip of $(PYTHON)"; \
$(PYTHON) -m venv --clear --without-pip $(1) && $(PYTHON) -m pip --python $(1)/bin/python install pip; }
$(1)/bin/python -m pip install --quiet --require-hashes -r $(2)
endef

setup: $(ready)  ## make .venv from the locked requirements, the package editable in it

# The file is touched last, so a setup that was interrupted starts again.
$(ready): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
	"Python 3.11 or newer is needed, this is %d.%d: make setup PYTHON=python3.12" % v[:2])'
	$(call environment,$(VENV),requirements/dev.txt)
	$(bin)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## train on MovieLens 100K, report, show the shortlist of user 42, say how to look at it
	$(demo_command)
	@echo "look at it: $(bin)/shortlist serve runs/demo, then open http://127.0.0.1:8000/" >&2

test: setup  ## the fast suite
	$(bin)/python -m pytest -n 2 --dist loadfile -m "not dist and not slow" $(ARGS)

test-slow: setup  ## the long runs
	$(bin)/python -m pytest -m slow $(ARGS)

test-dist: setup  ## build, install into empty environments, run the quickstart there, measure sizes
	$(bin)/python -m pytest -m dist $(ARGS)

examples_ready := build/examples/.ready

$(examples_ready): requirements/examples.txt
	$(call environment,build/examples,requirements/examples.txt)
	@touch $@

test-examples: setup $(examples_ready)  ## run the examples beside the trackers they write to, read back
	EXAMPLES_PYTHON=$(CURDIR)/build/examples/bin/python $(bin)/python -m pytest tests/examples/run_trackers.py $(ARGS)

savedmodel_ready := build/savedmodel/.ready

$(savedmodel_ready): requirements/savedmodel.txt
	$(call environment,build/savedmodel,requirements/savedmodel.txt)
	@touch $@

test-savedmodel: $(savedmodel_ready)  ## write TensorFlow SavedModels, call them, compare with the recommender
	PYTHONPATH=src build/savedmodel/bin/python -m pytest tests/export/run_savedmodel.py $(ARGS)

node_ready := build/node/.ready
plain_ready := build/onnxruntime/.ready

$(node_ready): requirements/node.txt examples/node/package.json examples/node/package-lock.json examples/node/.npmrc
	$(call environment,build/node,requirements/node.txt)
	cp examples/node/package.json examples/node/package-lock.json examples/node/.npmrc build/node
	PATH="$(CURDIR)/build/node/bin:$$PATH" npm ci --prefix build/node --ignore-scripts --no-audit --no-fund
	@touch $@

$(plain_ready): requirements/onnxruntime.txt
	$(call environment,build/onnxruntime,requirements/onnxruntime.txt)
	@touch $@

test-node: setup $(node_ready) $(plain_ready)  ## recommend from bundles in Node.js and without Shortlist, compare
	PATH="$(CURDIR)/build/node/bin:$$PATH" $(bin)/python -m pytest tests/examples/run_node.py $(ARGS)

# $(call programs,PROGRAM,PACKAGES): Debian's packages, where a program of theirs is not there.
define programs
@command -v $(1) >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends $(2); }
endef

test-postgres: setup  ## the store of events on a real PostgreSQL (installed by apt-get where there is none)
	@ls $${POSTGRES_BIN:-/usr/lib/postgresql/*/bin}/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
	{ apt-get update -q && apt-get install -qy --no-install-recommends postgresql; }
	$(bin)/python -m pytest tests/server/run_postgres.py $(ARGS)

test-server: setup  ## a server before 10,000 idle connections and clients that are slow or do not read
	$(bin)/python -m pytest tests/server/run_connections.py $(ARGS)

schemathesis_ready := build/schemathesis/.ready

$(schemathesis_ready): requirements/schemathesis.txt
	$(call environment,build/schemathesis,requirements/schemathesis.txt)
	@touch $@

test-schemathesis: setup $(schemathesis_ready)  ## ask a server by its OpenAPI document: no fault, answers as documented
	SCHEMATHESIS_PYTHON=$(CURDIR)/build/schemathesis/bin/python $(bin)/python -m pytest tests/server/run_schemathesis.py $(ARGS)

deploy_ready := build/deploy/.ready

$(deploy_ready): requirements/deploy.txt
	$(call environment,build/deploy,requirements/deploy.txt)
	@touch $@

test-deploy: export PATH := $(PATH):/usr/sbin:/sbin
test-deploy: setup $(deploy_ready)  ## the image's steps, the unit and the proxies, each as it would be used
	$(call programs,nginx,nginx-light)
	$(call programs,caddy,caddy)
	$(call programs,systemd-analyze,systemd)
	HADOLINT=$(CURDIR)/build/deploy/bin/hadolint $(bin)/python -m pytest \
	tests/deploy/run_image.py tests/deploy/run_unit.py tests/deploy/run_proxies.py tests/deploy/run_pages.py $(ARGS)

browser_ready := build/browser/.ready

$(browser_ready): requirements/browser.txt tests/browser/package.json tests/browser/package-lock.json tests/browser/.npmrc
	$(call environment,build/browser,requirements/browser.txt)
	cp tests/browser/package.json tests/browser/package-lock.json tests/browser/.npmrc build/browser
	PATH="$(CURDIR)/build/browser/bin:$$PATH" npm ci --prefix build/browser --ignore-scripts --no-audit --no-fund
	@touch $@

test-browser: setup $(browser_ready)  ## walk through the explorer in Chromium (PICTURES=1 rewrites docs/images/explorer)
	$(call programs,/usr/bin/chromium,chromium fonts-dejavu-core)
	SHORTLIST_PYTHON=$(CURDIR)/$(bin)/python PICTURES=$(PICTURES) build/browser/bin/python -m pytest \
	--confcutdir=tests/browser tests/browser/run_*.py $(ARGS)

groups = test test-slow test-dist test-examples test-savedmodel test-node test-postgres test-server \
	test-schemathesis test-deploy test-browser

test-all: $(groups)  ## every group

lint: setup  ## formatting and lint rules
	$(bin)/ruff format --check .
	$(bin)/ruff check .

format: setup  ## rewrite the formatting, fix what can be fixed
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

types: setup  ## strict types
	$(bin)/python -m mypy

dist: setup  ## wheel and sdist under dist/
	$(bin)/python -m build --no-isolation --outdir dist .

lock:  ## rewrite requirements/*.txt (UPGRADE=1 takes newer versions)
	PYTHON=$(PYTHON) tools/lock.sh

check-locks:  ## install the locked requirements with $(PYTHON) in a throw-away environment
	PYTHON=$(PYTHON) tools/check_locks.sh

architecture: setup  ## rewrite the tree in docs/architecture.md
	$(bin)/python tools/architecture.py

readme: setup  ## rewrite what the documents take from files: sizes, figures, keys of recipes, the reference
	$(bin)/python tools/readme.py
	$(bin)/python tools/reference.py

# The documentation has an environment of its own; the package is read from src.
docs_bin := build/docs-venv/bin
docs_ready := build/docs-venv/.ready
docs_python = PYTHONPATH=src $(docs_bin)/python

$(docs_ready): requirements/docs.txt
	$(call environment,build/docs-venv,requirements/docs.txt)
	@touch $@

docs: $(docs_ready)  ## run the pages that train, compare what they print, build the site into build/site
	$(docs_python) tools/notebooks.py --check
	$(docs_python) tools/site.py gather
	NO_MKDOCS_2_WARNING=1 $(docs_bin)/mkdocs build --strict --quiet
	$(docs_python) tools/site.py check

notebooks: $(docs_ready)  ## run the pages that train; rewrite their outputs, translations and notebooks
	$(docs_python) tools/notebooks.py $(ARGS)

figures: demo  ## run the demo and the tutorials, keep their figures in docs/results, rewrite the documents
	mkdir -p docs/results
	cp runs/demo/report.json docs/results/demo-report.json
	rm -rf build/programs  # seconds count compilation
	JAX_COMPILATION_CACHE_DIR=build/programs $(bin)/shortlist reproduce tutorials --json docs/results/tutorials.json
	$(bin)/python tools/readme.py

figures-long: setup  ## accuracy, cold start and warm starts: half an hour; rewrite the documents
	$(bin)/shortlist reproduce accuracy --json docs/results/accuracy.json
	$(bin)/shortlist reproduce arrivals --json docs/results/arrivals.json
	$(bin)/shortlist reproduce warm-start --json docs/results/warm-start.json
	$(bin)/python tools/readme.py

bench: setup  ## measure ours beside the peers (their environments go to build/), rewrite benchmarks/results
	$(bin)/python benchmarks/run.py $(ARGS)

bench-full: setup  ## everything three times, the peers' long runs too
	$(bin)/python benchmarks/run.py --full $(ARGS)

bench-serve: setup  ## servers under load, ours beside two peers' (apt-get, loopback); rewrite benchmarks/results
	$(call programs,wrk,wrk)
	$(bin)/python benchmarks/serve.py $(ARGS)

clean:  ## remove the environment, builds and caches (runs/ stays)
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
