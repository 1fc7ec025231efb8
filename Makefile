# make demo: a shell through the proxy. make test: everything that has to pass. make help: the rest.

SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Three for each core: a test waits twice as long as it computes.
PYTEST_WORKERS ?= $(shell echo $$((3 * $$(getconf _NPROCESSORS_ONLN))))
# Those that compute, and wait for nothing.
CHECK_WORKERS ?= $(shell getconf _NPROCESSORS_ONLN)
PYTEST_ARGS ?=
SOAK_MINUTES ?= 60
SOAK_INTO ?= docs/soak

BIN := .venv/bin
VENV_STAMP := .venv/.stamp
BENCH_STAMP := .venv/.stamp-bench
COLLECTED := .venv/.stamp-collected
ADVISORIES ?=
BEFORE ?=
QUICK ?=
LOCK_ARGS ?=
IMAGE ?= k8s-ws-proxy:$(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' k8s_ws_proxy/__init__.py)
PYTHON_IMAGE ?=
IMAGE_EXTRAS := store audit
IMAGE_ARGS ?=
PAGES := k8s_ws_proxy/web/pages
NODE_DIRS := tests/clients tests/chart $(PAGES)
# Debian's, where there is none by one of the names that tests know.
CHROMIUM := $(if $(shell command -v chromium || command -v chromium-browser || command -v google-chrome),,chromium:chromium)
BROWSERS := $(CHROMIUM) \
	$(if $(shell command -v firefox-esr || command -v firefox),,firefox-esr:firefox-esr)
NODE_STAMPS := $(NODE_DIRS:%=%/node_modules/.stamp)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export DEBIAN_FRONTEND := noninteractive
# Where this is set, as in many an image, pytest prepares every test file anew in each worker: half of `make check`.
export PYTHONDONTWRITEBYTECODE :=

# Packages for the commands in $(1), written COMMAND:PACKAGE, where a command isn't there. Only root on a system with
# apt installs them; anybody else is told.
define install-missing
missing=; for pair in $(1); do command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair#*:}"; done; \
if [ -z "$$missing" ]; then :; \
elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; \
else echo "not installed, and some tests want it:$$missing" >&2; fi
endef

# A virtual environment, where there is none that works.
define make-venv
@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "Python 3.11 or newer is needed; name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "python3 can't make virtual environments: installing python3-venv"; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv \
			|| { echo "install the package python3-venv, then try again" >&2; exit 1; }; \
	fi; \
	$(PYTHON) -m venv --clear .venv; \
	fi
endef

.PHONY: help
help: ## Say what there is
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(VENV_STAMP) ## Make .venv with the package and all that tests need

$(VENV_STAMP): pyproject.toml requirements.lock
	$(make-venv)
	@# What tests run with is what the image holds: the lock's versions, without its hashes, which an editable can't have.
	@sed -n 's/^\([a-z0-9.-]*==[^ ]*\).*/\1/p' requirements.lock > .venv/constraints.txt
	$(BIN)/python -m pip install --quiet --use-pep517 --constraint .venv/constraints.txt --editable '.[dev,store,audit,test]'
	@touch $@

.PHONY: node
node: $(NODE_STAMPS) ## Install the JavaScript that tests run

$(NODE_STAMPS): %/node_modules/.stamp: %/package.json %/package-lock.json
	@$(call install-missing,node:nodejs npm:npm)
	cd $* && npm install --no-audit --no-fund --no-save --loglevel=error
	@touch $@

.PHONY: pages
pages: $(PAGES)/node_modules/.stamp ## Build the pages for a browser from what package-lock.json says, and check their types
	cd $(PAGES) && npm run --silent types && npm run --silent build

.PHONY: helm
helm: $(BIN)/helm ## Have the helm that the chart's tests run

$(BIN)/helm: tests/support/fetch_helm.py | $(VENV_STAMP)
	$(BIN)/python $< $@

.PHONY: chart-readme
chart-readme: venv ## Make the chart's README from its values
	$(BIN)/python chart/readme.py

.PHONY: docs
docs: chart-readme ## Make the pages that are made: the chart's README, the table of reasons, the audit trail's fields
	$(BIN)/python docs/reference/answers.py
	$(BIN)/python docs/audit.py

.PHONY: system
system:
	@$(call install-missing,tmux:tmux openssl:openssl curl:curl node:nodejs npm:npm ip:iproute2 nft:nftables \
		vi:vim-tiny top:procps less:less)
	@$(call install-missing,$(BROWSERS))

.PHONY: test
test: venv system node helm ## Lint, types, and every test but the long ones
	@$(MAKE) --no-print-directory --jobs 2 lint $(COLLECTED)
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

# pytest rewrites the assertions of a test file when it first comes to it, which takes longer than to collect its tests.
# Where nothing is there yet, each worker would do that for every file; so it is done once, while mypy has the other core.
# What can't be collected is told by the run itself.
$(COLLECTED): | $(VENV_STAMP) $(BIN)/helm
	@$(BIN)/python -m pytest --collect-only -qq >/dev/null 2>&1 || :
	@touch $@

.PHONY: check
check: venv lint ## What to run while writing: lint, types, unit and protocol tests
	$(BIN)/python -m pytest -n $(CHECK_WORKERS) --dist worksteal tests/unit tests/protocol $(PYTEST_ARGS)

.PHONY: lint
lint: venv ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy .ci/image/*.py

.PHONY: demo
demo: venv ## A command through the proxy to an embedded cluster, then a shell
	@$(BIN)/k8s-ws-proxy dev --demo --port 0

.PHONY: soak
soak: venv system helm $(BENCH_STAMP) ## The long tests, then an hour of mixed load (SOAK_MINUTES) with its memory curve
	$(BIN)/python -m pytest -m soak $(PYTEST_ARGS)
	PYTHONPATH=tests $(BIN)/python tests/soak/hour.py --minutes $(SOAK_MINUTES) --into $(SOAK_INTO)

.PHONY: wires
wires: venv system ## Cut the wires: the tests that need namespaces, which fail here if there can be none
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) -m netns $(PYTEST_ARGS) tests/functional

# uv asks an index for the hashes of all files of a version, so one lock serves every Python and processor.
.PHONY: lock
lock: ## Write the locks anew from pyproject.toml; LOCK_ARGS=--upgrade takes newer versions
	$(make-venv)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --annotation-style line \
		--custom-compile-command 'make lock' $(LOCK_ARGS) $(IMAGE_EXTRAS:%=--extra %) \
		--output-file requirements.lock pyproject.toml
	$(BIN)/python -c 'import tomllib; \
		print("pip", *tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	| $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --annotation-style line \
		--custom-compile-command 'make lock' $(LOCK_ARGS) --output-file requirements-build.lock -

.PHONY: audit
audit: venv ## Look for known vulnerabilities in the locks; ADVISORIES=DIRECTORY where there is no network
	@$(if $(ADVISORIES),,$(BIN)/python -m pip install --quiet --constraint .venv/constraints.txt pip-audit)
	@$(BIN)/python .ci/image/audit.py requirements.lock requirements-build.lock $(if $(ADVISORIES),--advisories $(ADVISORIES))

.PHONY: image
image: ## Build the container image with podman, buildah or docker; IMAGE=, PYTHON_IMAGE= and IMAGE_ARGS= are yours
	@.ci/image/build.sh $(IMAGE) $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) $(IMAGE_ARGS)

.PHONY: image-test
image-test: venv helm ## Build the image on a base made from Debian's packages, and run it as a cluster would
	@$(call install-missing,buildah:buildah debootstrap:debootstrap)
	$(BIN)/python -m pytest -m image tests/image $(PYTEST_ARGS)

.PHONY: bench
bench: venv $(BENCH_STAMP) ## Measure, against what stands beside us; BEFORE=REVISION beside it, QUICK=1 in 3 minutes
	@# What can't be installed is left out, and the page says so.
	-@$(call install-missing,haproxy:haproxy nginx:nginx-light)
	$(BIN)/python benchmarks/run.py $(if $(QUICK),--quick) $(if $(BEFORE),--before '$(BEFORE)')

.PHONY: bench-pages
bench-pages: venv ## Measure the pages in a browser in 4 minutes: size, first paint, keystrokes, floods; QUICK=1: little of each
	@$(call install-missing,$(CHROMIUM))
	PYTHONPATH=tests $(BIN)/python -m benchmarks.pages $(if $(QUICK),--quick)

.PHONY: siege
siege: venv $(BENCH_STAMP) ## Attack a running daemon in every way that is known, and measure what others feel
	PYTHONPATH=tests $(BIN)/python -m benchmarks.siege

$(BENCH_STAMP): $(VENV_STAMP) benchmarks/requirements.txt
	$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	@touch $@

.PHONY: clean
clean: ## Remove what was made here
	rm -rf build .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis k8s_ws_proxy.egg-info $(NODE_DIRS:%=%/node_modules)
	find k8s_ws_proxy tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
