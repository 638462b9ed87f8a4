# One thin line each. Every target makes sure of .venv first (tools/setup.py, instant when it is there).
PYTHON ?= python3
SETUP   = $(PYTHON) -I -S tools/setup.py
RUN     = .venv/bin/python -m
N      ?= 1
AS_ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help lab test build check watch progress hint script reset solutions claims bench artifacts saes doctor browser stats mutants lint setup setup-dev

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

lab: setup ## open JupyterLab on the exercises
	@$(RUN) jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/exercises $(AS_ROOT) $(LAB_ARGS)

check: setup ## check your answers: everything, or EX=3.1.1.c, or a file with AGAINST=my.py
	@$(RUN) utils.check $(EX) $(if $(AGAINST),--against $(AGAINST))

watch: setup ## check again whenever you save
	@$(RUN) utils.check $(EX) --watch $(if $(AGAINST),--against $(AGAINST))

progress: setup ## show how far you are
	@$(RUN) utils.check --progress

hint: setup ## show a hint: EX=3.1.1.c, the next one with N=2
	@$(RUN) utils.check $(EX) --hint $(N)

script: setup ## write a section as a Python file, for any editor: SECTION=3.1.1
	@$(RUN) tools.script $(SECTION)

reset: setup ## start a section again, with a backup: SECTION=3.1.1
	@$(RUN) tools.reset $(SECTION)

doctor: ## explain this machine: what works, what doesn't, and the cure
	@$(SETUP) --doctor

test: setup-dev ## run the course's own tests
	@OMP_NUM_THREADS=1 $(RUN) pytest -n auto --maxprocesses=4 $(PYTEST_ARGS)

build: setup-dev ## write exercises/ and solutions/ from the sources; keeps your work
	@$(RUN) tools.build

solutions: setup-dev ## build and execute the solution notebooks
	@$(RUN) tools.build --execute

claims: setup-dev ## reproduce the published results: docs/claims.md (minutes); SEEDS=7,8,9: others
	@$(RUN) tools.claims $(if $(SEEDS),--claim-seeds=$(SEEDS)) $(PYTEST_ARGS)

bench: setup-dev ## measure the fast trainers against the plain loops
	@$(RUN) tools.bench.toy
	@$(RUN) tools.bench.ensemble
	@$(RUN) tools.bench.saes

artifacts: setup-dev ## train the course's small models and their SAEs, what is missing
	@$(RUN) tools.tiny
	@$(RUN) tools.tiny.saes
	@$(RUN) tools.catalogue

saes: setup-dev ## train the language model's SAEs (hours; NLTK_DATA: a folder of NLTK's corpora)
	@$(RUN) tools.corpus sample
	@$(RUN) tools.local
	@$(RUN) tools.catalogue

browser: setup-dev ## drive JupyterLab in a headless Chromium
	@$(RUN) pytest -m browser $(PYTEST_ARGS)

stats: setup-dev ## repeat the exercises' tests from 20 seeds
	@$(RUN) pytest --seeds 20 tests/part31_superposition $(PYTEST_ARGS)

mutants: setup-dev ## try the tests on wrong versions of the worked functions: EX=3.1.1
	@$(RUN) tools.mutants $(EX)

lint: setup-dev ## ruff and mypy
	@$(RUN) ruff check . && $(RUN) ruff format --check . && $(RUN) mypy

setup:
	@$(SETUP)

setup-dev:
	@$(SETUP) --dev
