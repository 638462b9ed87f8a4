# One thin line each. Every target makes sure of .venv first (tools/setup.py, instant when it is there).
PYTHON ?= python3
SETUP   = $(PYTHON) -I -S tools/setup.py
RUN     = .venv/bin/python -m
N      ?= 1
# a value for the shell as one word, whatever is in it; nothing where it is empty. What people
# write freely is given as $(value X): a `$` in it stays
quoted  = $(if $(strip $(1)),'$(subst ','\'',$(1))')
option  = $(if $(strip $(2)),$(1) $(call quoted,$(2)))
CHECK   = $(RUN) utils.check $(call quoted,$(value EX))
# status 1 says "not all passed": no fault of make's. 2 and above are real failures
PEOPLE  = || test $$? -eq 1
AS_ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help lab test build check watch progress hint solution script reset solutions claims bench gpu artifacts saes dashboard interpret graph sweep doctor browser stats mutants lint setup setup-dev runs

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

lab: work ## open JupyterLab on your copies of the exercises, in work/
	@$(RUN) jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/work/start.ipynb \
	  --ServerApp.contents_manager_class=tools.lab.Contents $(AS_ROOT) $(LAB_ARGS)

work: setup ## make or renew the copies in work/ (for VS Code, or after a git pull)
	@$(RUN) tools.work

check: setup ## check your answers: everything, or EX=3.1.1.c, or a file with AGAINST=my.py
	@$(CHECK) $(call option,--against,$(value AGAINST)) $(PEOPLE)

watch: setup ## check again whenever you save
	@$(CHECK) --watch $(call option,--against,$(value AGAINST))

progress: setup ## show how far you are
	@$(RUN) utils.check --progress $(call option,--against,$(value AGAINST)) $(PEOPLE)

hint: setup ## show a hint: EX=3.1.1.c, the next one with N=2
	@$(CHECK) --hint $(call quoted,$(or $(strip $(N)),1))

solution: setup ## show one way to write it: EX=3.1.1.c
	@$(CHECK) --solution

script: setup ## write a section as a Python file, for any editor: SECTION=3.1.1
	@$(RUN) tools.script $(call quoted,$(value SECTION))

reset: setup ## start a section again, with a backup: SECTION=3.1.1
	@$(RUN) tools.reset $(call quoted,$(value SECTION))

dashboard: setup ## a page about an SAE's latents: SAE=residual LATENTS=0-99 (ROWS=, OUT=, more in tools/dashboard.py)
	@$(RUN) tools.dashboard $(call quoted,$(or $(strip $(value SAE)),residual)) $(call quoted,$(value LATENTS)) \
	  $(call option,--rows,$(value ROWS)) $(call option,--out,$(value OUT)) $(DASHBOARD_ARGS)

interpret: setup ## sentences about latents, scored: SAE=residual LATENTS=0-49 (ROWS=, MODEL=, ENDPOINT=, see tools/interpret.py)
	@$(RUN) tools.interpret $(call quoted,$(or $(strip $(value SAE)),residual)) $(call quoted,$(value LATENTS)) \
	  $(call option,--rows,$(value ROWS)) $(call option,--model,$(value MODEL)) $(call option,--endpoint,$(value ENDPOINT)) $(INTERPRET_ARGS)

graph: setup ## the attribution graph of a prompt as a page: PROMPT="…" (more in tools/graph.py)
	@$(RUN) tools.graph $(call quoted,$(value PROMPT)) $(GRAPH_ARGS)

sweep: setup ## train a grid of SAEs and compare them: SITE=story/residual K=4,8,16 (more in tools/sweep.py)
	@$(RUN) tools.sweep $(call quoted,$(or $(strip $(value SITE)),story/residual)) $(call option,--k,$(value K)) $(SWEEP_ARGS)

doctor: ## explain this machine: what works, what doesn't, and the cure
	@$(SETUP) --doctor

test: setup-dev ## run the course's own tests
	@OMP_NUM_THREADS=1 $(RUN) pytest -n auto --maxprocesses=4 $(PYTEST_ARGS)

build: setup-dev ## write exercises/ and solutions/ from the sources; keeps your work
	@$(RUN) tools.build

solutions: setup-dev ## build and execute the solution notebooks
	@$(RUN) tools.build --execute

claims: setup-dev ## reproduce the published results: docs/claims.md (an hour or more); SEEDS=7,8,9: others
	@$(RUN) tools.claims $(if $(SEEDS),--claim-seeds=$(SEEDS)) $(PYTEST_ARGS)

bench: setup-dev ## measure the fast trainers against the plain loops
	@$(RUN) tools.bench.toy
	@$(RUN) tools.bench.ensemble
	@$(RUN) tools.bench.saes
	@$(RUN) tools.bench.dashboards
	@$(RUN) tools.bench.graphs
	@$(RUN) tools.bench.sweeps

gpu: setup-dev ## what a GPU shows, in one table; bare machines: python3 tools/gpu.py
	@$(RUN) tools.gpu

artifacts: setup-dev ## train the course's small models and their SAEs, what is missing
	@$(RUN) tools.tiny
	@$(RUN) tools.tiny.saes
	@$(RUN) tools.catalogue

saes: setup-dev ## train the language model's SAEs (hours; NLTK_DATA: a folder of NLTK's corpora)
	@$(RUN) tools.corpus sample
	@$(RUN) tools.local
	@$(RUN) tools.catalogue

runs: setup-dev ## train again the runs of 3.2.8 that have faults (two minutes)
	@$(RUN) tools.local.faults --again

browser: setup-dev ## drive JupyterLab in a headless Chromium
	@$(RUN) pytest -m browser $(PYTEST_ARGS)

stats: setup-dev ## run the exercises' tests on the worked solutions from 30 unseen seeds
	@$(RUN) tools.seeds $(value EX) $(if $(SEEDS),--seeds $(SEEDS))

mutants: setup-dev ## try the tests on wrong versions of the worked functions: EX=3.1.1
	@$(RUN) tools.mutants $(call quoted,$(value EX))

lint: setup-dev ## ruff and mypy
	@$(RUN) ruff check . && $(RUN) ruff format --check . && $(RUN) mypy

setup:
	@$(SETUP)

setup-dev:
	@$(SETUP) --dev
