# Needs Python 3.11 or newer. Everything goes into .venv; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: test demo check lint clean

test: $(VENV)/.installed
	$(BIN)/python -m pytest

# A synthetic clip, segmented from the mask of its first frame, and its score.
demo: $(VENV)/.installed
	$(BIN)/vos synth demo --overwrite
	$(BIN)/vos-run demo/shapes.mp4 --ref-mask demo/Annotations/shapes/00000.png --out demo/results --overwrite
	$(BIN)/vos-eval demo/Annotations demo/results
	@echo "look at demo/results/shapes.mp4 and demo/results/shapes/"

lint: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check: lint test

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build demo *.egg-info
