# Everything a newcomer needs: `make demo` and `make test` set up what is missing by themselves, in one .venv. What only
# experiments and tests use, and is for non-commercial use (NOTICE), comes with `make setup`, `make compare` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
WEIGHTS := $(addprefix data/weights/demo/,prior.safetensors swinir.safetensors swinir_l1.safetensors idm.safetensors lama.safetensors)
export DO_NOT_TRACK := 1
# where it is set (containers do), every process of a fresh .venv would compile torch and Prefect anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo compare test install setup serve lint weights clean-store

demo: install ## run the embedded benchmark and write the report
	$(BIN)/bfr demo

compare: setup ## the same with all methods: DT-BFR, DifFace, gen2res, IDM, DifBFSR
	$(BIN)/bfr compare

test: setup ## lint, types and the whole test suite
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

install: .venv/.ready $(WEIGHTS) ## what photos and the demo need; no terms to agree to

setup: .venv/.dev $(WEIGHTS) ## all that experiments and tests need

.venv/.ready: pyproject.toml constraints.txt
	@git rev-parse --git-dir >/dev/null || { echo "DVC and the tests need git and a repository, which a ZIP of the files \
	is not. Run 'git init' here (or 'git clone' the repository, and go there), and then this again." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "bfr needs Python 3.11 or newer, found " + sys.version'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[app,heic]'
	@touch $@

.venv/.dev: .venv/.ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

$(WEIGHTS) &: data/weights/dvc.lock | .venv/.ready
	$(BIN)/dvc pull --quiet -r demo data/weights/dvc.yaml
	@touch $(WEIGHTS)

serve: install ## start the Prefect server and the deployments, until Ctrl-C
	$(BIN)/bfr serve

lint: setup
	$(BIN)/ruff check --fix . && $(BIN)/ruff format . && $(BIN)/mypy

weights: setup ## train the demo weights anew (minutes on a GPU, a day and a half on 2 cores), then publish them in the repository's store
	$(BIN)/dvc repro --force --single-item $(addprefix data/weights/dvc.yaml:,prior restorer idm lama)
	$(BIN)/dvc push -r demo

clean-store: install ## delete stored results that were not used for 30 days
	$(BIN)/bfr prune --days 30
