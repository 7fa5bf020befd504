# Every target makes the environment it needs, in .venv.
PYTHON ?= python3
BIN = .venv/bin
DATA ?= ../shared/data

.PHONY: demo test test-oldest lint docs bench bench-scaling bench-large bench-history bench-pixels bench-smoothing paper paper-real paper-shaping mutants clean

demo: .venv/.demo
	$(BIN)/python -m examples.demo

# one thread for each of the processes, which share the cores
test: .venv/.test
	SKCERT_DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test-oldest: constraints-oldest.txt
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -c constraints-oldest.txt -e ".[test]"
	SKCERT_DATA=$(DATA) .venv-oldest/bin/python -m pytest -n auto --dist loadfile

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# beside scikit-learn, beside other certificates, and a search on two cores; a few minutes
bench: .venv/.test .venv/.bench
	SKCERT_DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.ratios
	SKCERT_DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.peers
	SKCERT_DATA=$(DATA) $(BIN)/python -m benchmarks.search

# against the number of points, features and classes; a quarter of an hour
bench-scaling: .venv/.test .venv/.bench
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.scaling
	$(BIN)/python docs/figures/make_figures.py performance

# a million latents from a file of 2 GB; half an hour
bench-large: .venv/.test
	$(BIN)/python -m benchmarks.large

# the last five commits beside each other; then: asv publish, asv preview
bench-history: .venv/.bench
	$(BIN)/asv run --quick --show-stderr HEAD~5..HEAD

# CIFAR-10 in pixels, by encoder, head and bound; three quarters of an hour on one core
bench-pixels: .venv/.test .venv/.bench
	SKCERT_DATA=$(DATA) $(BIN)/python -m benchmarks.lipschitz.table

# votes under noise beside a peer, on CIFAR-10, and until the radius is known; two hours and a half on one core
bench-smoothing: .venv/.test .venv/.bench
	$(BIN)/python -m benchmarks.smoothing.one_sample
	SKCERT_DATA=$(DATA) $(BIN)/python -m benchmarks.smoothing.table
	SKCERT_DATA=$(DATA) $(BIN)/python -m benchmarks.smoothing.anytime

# the figures of the paper on mixtures that are known; seven minutes on two cores
paper: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.synthetic
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.optimal
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.localization
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.sample_complexity

# the figures and tables of the paper on real latents and pixels; three quarters of an hour on one core
paper-real: .venv/.test
	test -d $(DATA) || { echo "SKCERT_DATA has the latents: make paper-real DATA=..."; exit 1; }
	SKCERT_DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.pixels
	SKCERT_DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.encoders
	SKCERT_DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.gaussianity
	SKCERT_DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.spectrum
	SKCERT_DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.transfer

# certified accuracy of shaped latents beside all other rules, and the page; two hours on one core
paper-shaping: .venv/.test
	SKCERT_DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.shaping
	SKCERT_DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.tried
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.paper.digits
	$(BIN)/python -m benchmarks.paper.page

mutants: .venv/.test
	SKCERT_DATA=$(abspath $(DATA)) $(BIN)/python -m tests.mutants

clean:
	rm -rf .venv .venv-oldest docs/_build

# .venv/.test installs the extra "test", and so on; "demo" and "test" run torch modules too.
.venv/.%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$*]"
	touch $@
