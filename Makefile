# Everything a person or a continuous-integration service does with this project. `make help` lists it.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

# paper | budget | mini | smoke: how much of each recipe is trained.
SCALE ?= smoke
# More arguments for the launcher, such as ARGS="--seeds 3 --max-gpu-hours 200".
ARGS ?=
# Optional extras of pyproject.toml to install as well: deepspeed, aedat4, bench, docs.
EXTRAS ?=
VENV ?= .venv
# Test processes side by side; each uses one thread of torch. One of them mostly waits for the Slurm test cluster.
TEST_WORKERS ?= 3
# The first Python on the PATH that the pins cover; the set-up says what is wrong if there is none.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 \
	&& { echo "$$p"; exit; }; done; echo python3)

PY := $(VENV)/bin/python
LAUNCH = $(PY) -m tksbench.launch --scale $(SCALE)
TABLES = $(PY) -m tksbench.tables

.PHONY: help
help:  ## list the targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
	@echo
	@echo '  SCALE=paper|budget|mini|smoke (default smoke)  ARGS="--seeds 3"  EXTRAS=deepspeed  PYTHON=python3.12'

.PHONY: env
env:  ## create or update .venv from the pinned, hash-checked packages
	@$(PYTHON) .ci/setup_venv.py $(VENV) $(EXTRAS)

.PHONY: table1
table1: env  ## train what Table 1 lacks at SCALE, then print it
	@status=0; set -x; $(LAUNCH) --only '*/tks' recipes/cifar10.yaml recipes/cifar100.yaml recipes/imagenet.yaml $(ARGS) || status=$$?; $(TABLES) table1 --ours; exit $$status

.PHONY: table2
table2: env  ## the same for Table 2
	@status=0; set -x; $(LAUNCH) --only '*/tks' recipes/dvs_cifar10.yaml recipes/ncaltech101.yaml $(ARGS) || status=$$?; $(TABLES) table2; exit $$status

.PHONY: table3
table3: env  ## the same for Table 3: every method of both image and event sets
	@status=0; set -x; $(LAUNCH) $(foreach name,baseline label_smoothing tet tks,--only '*/$(name)') recipes/ablation.yaml $(ARGS) || status=$$?; $(TABLES) table3; exit $$status

.PHONY: table4
table4: env  ## the same for Table 4: the fine-grained sets
	@status=0; set -x; $(LAUNCH) recipes/cub.yaml recipes/dogs.yaml recipes/cars.yaml $(ARGS) || status=$$?; $(TABLES) table4; exit $$status

.PHONY: cited
cited: env  ## train the systems that the paper cites at SCALE, then print Tables 1 and 2 with them
	@status=0; set -x; $(LAUNCH) recipes/cited/*.yaml $(ARGS) || status=$$?; $(TABLES) table1 table2; exit $$status

.PHONY: level
level: env  ## the same for TKS and other systems on one network, data set and schedule
	@status=0; set -x; $(LAUNCH) recipes/level.yaml $(ARGS) || status=$$?; $(TABLES) level; exit $$status

.PHONY: figures
figures: env  ## the same for every figure: PDF, PNG and CSV
	@status=0; set -x; $(LAUNCH) recipes/figures.yaml recipes/timestep.yaml $(ARGS) || status=$$?; $(TABLES) figures; exit $$status

.PHONY: report
report: env  ## the same for every recipe, then one web page of it all: results/report.html
	@status=0; set -x; $(LAUNCH) recipes/*.yaml $(ARGS) || status=$$?; $(PY) -m tksbench.report; exit $$status

.PHONY: smoke
smoke: env  ## run every recipe at smoke scale
	$(PY) -m tksbench.launch --scale smoke recipes/*.yaml $(ARGS)

.PHONY: test
test: export OMP_NUM_THREADS := 1
test: env  ## run all tests that this machine can; say what was skipped and why
	$(PY) -m pytest -n $(TEST_WORKERS) -rs

.PHONY: torture
torture: export OMP_NUM_THREADS := 1
torture: env  ## kill, flood and damage runs at length; results/torture.md
	$(PY) -m tests.torture $(ARGS)

.PHONY: docs
docs:  ## build the documentation into build/docs, to be read without a network; fails on any warning
	@$(PYTHON) .ci/setup_venv.py $(VENV) docs
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --clean
	@echo 'open build/docs/index.html (its search needs: $(PY) -m http.server -d build/docs)'

.PHONY: bench
bench: env  ## measure this beside its peers; EXTRAS=bench installs them (some minutes, on a quiet machine)
	@case ' $(EXTRAS) ' in *' bench '*) $(PY) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r benchmarks/braincog.txt -r benchmarks/neurobench.txt ;; esac
	$(PY) -m benchmarks $(ARGS)

.PHONY: gpu
gpu: env  ## on a machine with a GPU: what a quarter of an hour settles, most valuable first; results/gpu has the report
	$(PY) -m benchmarks.gpu $(ARGS)

.PHONY: check
check: env  ## formatting, lint, types, spelling, drift of the committed tables, audit
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(VENV)/bin/codespell
	$(TABLES) --check
	@PYTHONPATH=. $(PY) .ci/shown.py --check
	@$(PY) .ci/audit.py $(VENV)/bin/uv

.PHONY: coverage
coverage: export OMP_NUM_THREADS := 1
coverage: env  ## run the tests and tell which lines of tksbench/ they reach; build/coverage has each file
	$(PY) -m pytest -n $(TEST_WORKERS) -q --cov --cov-report=term --cov-report=html:build/coverage \
		--cov-report=json:build/coverage.json

.PHONY: fuzz
fuzz: env  ## 100,000 damaged files for each reader; may be cut and continued
	@mkdir -p build
	$(PY) -m tests.fuzz --state build/fuzz.json $(ARGS)

.PHONY: mutation
mutation: export OMP_NUM_THREADS := 1
mutation: env  ## break runs/, recipe/ and snn/losses.py line by line; results/mutation.md says what no test noticed
	$(PY) -m tests.mutation --processes $(TEST_WORKERS) $(ARGS)

.PHONY: lock
lock: env  ## renew the pins from the ranges of pyproject.toml
	$(VENV)/bin/uv pip compile $(LOCK) --extra dev -o constraints.txt
	$(VENV)/bin/uv pip compile $(LOCK) --all-extras -c constraints.txt -o constraints-extras.txt

# One version of a package for all supported Pythons where possible; nothing about the index in the output.
LOCK := pyproject.toml --quiet --universal --python-version 3.11 --fork-strategy fewest --upgrade \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links

.PHONY: clean
clean:  ## remove caches and build products (runs, data and .venv stay)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* build dist *.egg-info
	find tksbench tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
