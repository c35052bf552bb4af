# Everything there is to do with a clone, on a machine that has python3, venv and make.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
WORKERS ?= 2

# What the tests take from the system, on Debian and its kin: programs to look for, and packages that bring them.
SERVER_PACKAGES = redis-server
SCHEDULER_PACKAGES = slurm-wlm munge slurmdbd mariadb-server slurm-wlm-torque
SSH_PACKAGES = openssh-server iproute2
SYSTEM_PACKAGES ?= $(SERVER_PACKAGES) $(SCHEDULER_PACKAGES) $(SSH_PACKAGES)

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test check bench bench-page bench-quick chaos docs system style smoke clean

demo: $(VENV)/.demo
	$(BIN)/rush demo

test: system $(VENV)/.dev style
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report= < /dev/null
	$(BIN)/coverage report --fail-under=95
	$(MAKE) bench-quick
	$(MAKE) smoke

check: $(VENV)/.dev style
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not scheduler" < /dev/null

style: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# The installed wheel, away from the source folder. Its environment has what the wheel needs and what tests need.
smoke: $(VENV)/.dev
	rm -rf build/smoke dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(PYTHON) -m venv build/smoke/venv
	build/smoke/venv/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/dev.txt
	build/smoke/venv/bin/python -m pip install --quiet --no-deps dist/*.whl
	cp -r tests pyproject.toml build/smoke
	cd build/smoke && venv/bin/python -P -m pytest -m smoke -p no:cacheprovider < /dev/null

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

# All figures anew, and the page that shows them. Each loop keeps all results: with more loops than 448 one machine's memory
# is full before three minutes are over.
SCALE = --json docs/explanation/scale.json --plot docs/explanation/scale.png
bench-page: $(VENV)/.bench
	$(BIN)/python -m benchmarks --json docs/explanation/performance.json
	$(BIN)/python -m benchmarks.scale --workers 448 --seconds 180 $(SCALE)
	$(BIN)/python -m benchmarks.scale --workers 56 112 224 672 896 --seconds 45 $(SCALE)
	$(BIN)/python -m benchmarks.scale --stand-ins 250 500 1000 1500 2000 2500 3000 3500 4000 --seconds 20 $(SCALE)
	$(BIN)/python -m benchmarks.page

# The rows that have to stay what they are, each again where noise may have been the reason.
bench-quick: $(VENV)/.dev
	$(BIN)/python -m benchmarks --quick --realtime --check 1.5

chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos $(CHAOS)
	$(BIN)/python -m pytest -n 0 -s -m long < /dev/null

docs: $(VENV)/.dev
	$(BIN)/python -m sphinx -W -b html docs docs/_build/html

system:
	@sh requirements/system.sh $(SYSTEM_PACKAGES)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/demo.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/.bench: requirements/bench.txt | $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/bench.txt
	touch $@

clean:
	rm -rf $(VENV) build dist docs/_build .coverage .coverage.*
