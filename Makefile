# Needs Python 3.11 or newer. Everything goes into .venv; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READERS := .venv-readers
# One process per core with one thread each: threads that spin beside one another slow all down.
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal

# The arithmetic of several kinds of processor: threads, ATen's instructions, oneDNN's. What the
# processor lacks is left out by the libraries themselves.
ARITHMETICS := $(foreach threads,1 2,$(foreach aten,default avx2,$(foreach onednn,\
	SSE41 AVX2 AVX512_CORE,portable-$(threads)-$(aten)-$(onednn))))
arithmetic = $(word $(1),$(subst -, ,$@))

.PHONY: test test-exports test-models test-ray test-portable $(ARITHMETICS) demo docs check lint clean

test: $(VENV)/.test
	$(PYTEST)

# Exports read back by large programs, in an environment of their own beside .venv.
test-exports: $(VENV)/.test $(READERS)/.installed
	VOS_READERS_PYTHON=$(READERS)/bin/python $(BIN)/python -m pytest -m readers

$(READERS)/.installed:
	test -x $(READERS)/bin/python || $(PYTHON) -m venv $(READERS)
	$(READERS)/bin/python -m pip install --quiet \
		datumaro==1.13.12 label-studio-sdk==2.0.19 trackeval==1.3.0
	touch $@

# No result may hang on last bits: make -k test-portable goes on after a kind that fails.
test-portable: $(ARITHMETICS)
$(ARITHMETICS): $(VENV)/.test
	OMP_NUM_THREADS=$(call arithmetic,2) OMP_WAIT_POLICY=passive \
		ATEN_CPU_CAPABILITY=$(call arithmetic,3) ONEDNN_MAX_CPU_ISA=$(call arithmetic,4) \
		VOS_NUM_NOISE_SEEDS=8 $(PYTEST) -m portable

# vos batch on a cluster of Ray: two nodes on this machine, of which one is lost.
test-ray: $(VENV)/.test-ray
	$(BIN)/python -m pytest -n 0 -m ray tests/test_on_ray.py

# Cutie, SAM 2.1, DINOv2 and HQ-SAM with random weights, against their own packages.
test-models: $(VENV)/.test-models
	$(PYTEST) tests/test_networks.py tests/test_network_weights.py tests/test_transformers_models.py

# A synthetic clip, segmented from the mask of its first frame, and its score.
demo: $(VENV)/.run
	$(BIN)/vos synth demo --overwrite
	$(BIN)/vos-run demo/shapes.mp4 --ref-mask demo/Annotations/shapes/00000.png --out demo/results --overwrite
	$(BIN)/vos-eval demo/Annotations demo/results
	@echo "look at demo/results/shapes.mp4 and demo/results/shapes/"

# The site, in build/site; a broken link fails (not with --quiet, which drops what strict counts).
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "open build/site/index.html"

lint: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check: lint test

# What the project alone needs, what its tests need beside it, and what its checks need.
$(VENV)/.run: EXTRAS :=
$(VENV)/.test: EXTRAS := [test]
$(VENV)/.test-ray: EXTRAS := [test,ray]
$(VENV)/.test-models: EXTRAS := [test,models,cutie]
$(VENV)/.lint: EXTRAS := [test,lint]
$(VENV)/.docs: EXTRAS := [docs]
$(VENV)/.run $(VENV)/.test $(VENV)/.test-models $(VENV)/.test-ray $(VENV)/.lint $(VENV)/.docs: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".$(EXTRAS)"
	touch $@

clean:
	rm -rf $(VENV) $(READERS) build demo *.egg-info
