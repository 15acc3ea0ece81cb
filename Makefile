# What a developer types, and what CI runs.

PYTHON ?= python3
BIN := .venv/bin
# Most tests wait for another process, not for a core.
PROCESSES ?= 5
# These measure time, and want the machine for themselves.
TIMED := tests/hostile tests/e2e/test_whole_path.py
QUICK_TESTS := tests/unit tests/property tests/conformance tests/test_architecture.py tests/test_docs.py tests/test_log_hints.py tests/test_proto.py

.PHONY: help setup run test test-quick coverage storm check format kernel fuzz mutation wheel proto docs screenshots lock image image-test bench clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: .venv/ready ## Make .venv, with everything that the other targets need

.venv/ready: requirements-dev.lock pyproject.toml hatch_build.py $(wildcard receiver/native/*)
	@PYTHON="$(PYTHON)" sh demo/setup.sh

run: .venv/ready ## Triton, Prometheus and the receiver on this machine (MODELS=dir, PORT_OFFSET=n)
	@exec $(BIN)/python -m demo.run

test: .venv/ready ## Everything, end to end included (ARGS="tests/e2e")
	@sh tests/setup.sh
	@$(if $(ARGS),$(BIN)/python -m pytest $(ARGS),$(BIN)/python -m pytest -n $(PROCESSES) --dist loadgroup $(TIMED:%=--ignore=%))
	@$(if $(ARGS),,$(BIN)/python -m pytest $(TIMED))

test-quick: .venv/ready ## Half a minute: what needs no network, no Triton and no Prometheus
	@HYPOTHESIS_PROFILE=quick $(BIN)/python -m pytest -q -n auto --dist loadgroup $(QUICK_TESTS) $(ARGS)

coverage: .venv/ready ## Lines and branches that the unit tests reach, against the least that may be
	@$(BIN)/coverage run -m pytest -q --timeout 300 tests/unit tests/conformance $(ARGS)
	@$(BIN)/coverage report

storm: .venv/ready ## Kill, break and fill for two minutes, and account for each sample (ARGS="--routes --seed N")
	@$(BIN)/python -m tests.storm --seconds 120 $(ARGS)

check: .venv/ready ## Lint, format, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/ready ## Put the code into its format
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

kernel: .venv/ready ## Compile receiver/native again (CFLAGS="-g")
	@$(BIN)/python hatch_build.py $(CFLAGS)

fuzz: .venv/ready ## A minute of libFuzzer over each part of the kernel's core, with ASan and UBSan (SECONDS=n)
	@$(BIN)/python -m tests.fuzz.native .fuzz recogniser -max_total_time=$(or $(SECONDS),60)
	@$(BIN)/python -m tests.fuzz.native .fuzz fold -max_total_time=$(or $(SECONDS),60)

mutation: .venv/ready ## Which lines could be wrong unnoticed (ARGS="receiver/delivery/picker.py tests/unit/delivery")
	@test -d .parts/mutmut || $(BIN)/pip install --quiet --no-deps --target .parts/mutmut mutmut==3.3.1 'libcst>=1.7,<1.8'
	@rm -rf .parts/mutmut/tests # mutmut's own, which would be imported in place of ours
	@PYTHONPATH=.:.parts/mutmut $(BIN)/python -m tests.mutation $(ARGS)

wheel: .venv/ready ## manylinux wheels into dist/, audited, and tried without a compiler
	@$(BIN)/python -m tests.wheels dist $(ARGS)

proto: .venv/ready ## Generate receiver/intake/wire from proto/
	@$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=receiver/intake/wire --pyi_out=receiver/intake/wire proto/*.proto

docs: .venv/ready ## Renew the tables in README and docs/, and the picture of imports, from the code
	@$(BIN)/python docs/generate.py
	@$(BIN)/python docs/imports.py
	@$(BIN)/python deploy/generate.py

screenshots: .venv/ready ## The pictures in docs/images, of a whole path that runs
	@sh tests/setup.sh
	@$(BIN)/python -m docs.screenshots

lock: .venv/ready ## Bring the lock files up to pyproject.toml (UPGRADE=--upgrade: everything)
	@$(BIN)/pip install --quiet 'uv>=0.8'
	@$(BIN)/uv pip compile pyproject.toml --group dev --universal --generate-hashes --no-emit-index-url --no-header --quiet $(UPGRADE) --output-file requirements-dev.lock
	@$(BIN)/uv pip compile pyproject.toml --constraint requirements-dev.lock --no-annotate --universal --generate-hashes --no-emit-index-url --no-header --quiet $(UPGRADE) --output-file requirements-receiver.lock
	@echo 'cyclonedx-bom>=7,<8' | $(BIN)/uv pip compile - --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet $(UPGRADE) --output-file requirements-sbom.lock
	@echo 'hatchling>=1.27,<2' | $(BIN)/uv pip compile - --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet $(UPGRADE) --output-file requirements-build.lock

image: ## Build the image (NAME=name VERSION=version)
	@./build.sh $(NAME) $(VERSION)

image-test: .venv/ready ## Build the image here and use it, with a real Docker
	@IMAGE_TEST=1 $(BIN)/python -m pytest tests/container $(ARGS)

bench: .venv/ready ## CPU, latency and memory beside vmagent and plain Python, into docs/ (QUICK=1)
	@$(BIN)/python -m benchmarks.run $(if $(QUICK),--quick) $(ARGS)
	@$(BIN)/python -m benchmarks.folded $(if $(QUICK),--repeats 2)
	@$(if $(QUICK),,$(BIN)/python -m benchmarks.soak)

clean: ## Remove what the other targets made
	@rm -rf .venv .parts .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .fuzz dist
