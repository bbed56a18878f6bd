# `make` says what there is. `make demo` and `make test` each set up what they need: python3 (3.11 or newer) is enough.
.DEFAULT_GOAL := help
.PHONY: help demo install test containers repeat falsify versions check coverage docs docs-serve format bench build release lock clean

INSTALLED := .venv/.installed
WITNESS := .venv-litellm/.installed
# releases of tritonclient that are older than ours
CLIENTS := .venv-tritonclient-2.41/.installed .venv-tritonclient-2.51/.installed
# what tests in JavaScript need; made where there is npm
JAVASCRIPT := examples/javascript/node_modules/.package-lock.json

help:  ## what can be done here
	@echo 'Start here:  make demo'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s  %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'One test:    ci/test emulator/tests/test_x.py -k name      Programs: .venv/bin/triton-emulator --help'

demo: $(INSTALLED)  ## see a Triton serve a model, and the real server agree with it
	@.venv/bin/python -m examples.demo

install: $(INSTALLED) $(WITNESS) $(CLIENTS) $(JAVASCRIPT)  ## everything a developer needs, into .venv (hash-locked)

test: $(INSTALLED) $(WITNESS) $(CLIENTS) $(JAVASCRIPT)  ## all tests but the examples in the documents
	@ci/test

containers: $(INSTALLED)  ## the tests that need a container engine, with one of their own where none runs
	@ci/containers

repeat: $(INSTALLED) $(WITNESS) $(CLIENTS) $(JAVASCRIPT)  ## all tests 20 times, half of them on busy cores: none fails by chance
	@ci/repeat

falsify: $(INSTALLED)  ## break the code in named places, one after the other: each time a named case or test must fail
	@PATH="$(CURDIR)/.venv/bin:$$PATH" ci/falsify

versions: $(INSTALLED)  ## the emulator beside the real server of every version that can be had (an hour)
	@ci/versions

check: $(INSTALLED)  ## lint, format, types, import rules, the documents and their examples
	@ci/check

coverage: $(INSTALLED) $(JAVASCRIPT)  ## the fast tests with coverage, which may not fall below its floor
	@ci/coverage

docs: $(INSTALLED)  ## the documentation site into build/site
	@ci/docs

docs-serve: $(INSTALLED)  ## the site at http://localhost:8000, following edits
	@ci/docs --serve

format: $(INSTALLED)  ## let ruff format and mend what it can
	@.venv/bin/ruff check --fix --quiet . ; .venv/bin/ruff format --quiet .

bench: $(INSTALLED)  ## measure the emulator beside the real server (needs wrk)
	@ci/benchmark

build: $(INSTALLED)  ## wheel and sdist into dist/; the wheel is tested on every Python that is here
	@ci/build

release: $(INSTALLED)  ## everything that a release needs but the upload
	@ci/release

lock: $(INSTALLED)  ## write ci/constraints anew (ci/lock --upgrade takes newer versions)
	@ci/lock

clean:  ## remove what was made here
	rm -rf .venv .venv-litellm .venv-litellm-proxy $(dir $(CLIENTS) $(JAVASCRIPT)) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build

$(INSTALLED): pyproject.toml ci/constraints/dev.txt ci/install
	@ci/install .venv ci/constraints/dev.txt --project

.venv-tritonclient-%/.installed: ci/constraints/tritonclient-%.txt ci/install
	@ci/install .venv-tritonclient-$* ci/constraints/tritonclient-$*.txt

$(JAVASCRIPT): examples/javascript/package-lock.json ci/javascript
	@ci/javascript

$(WITNESS): ci/constraints/litellm.txt ci/install
	@ci/install .venv-litellm ci/constraints/litellm.txt
