# make demo: install nncomp and see it work; make test: everything that must hold (make types: the types alone; make kernels: what
# tests need compiled); make docs: the pages of docs/ as a site; make man: the manual page anew. All need Python 3.11+ and make.

PYTHON ?= python3
BIN := .venv/bin
DEMO := .demo
PIP := -q -c constraints.txt --no-compile  # Python compiles what it imports: a fraction of torch

unexport PYTHONDONTWRITEBYTECODE  # tests start many interpreters: what one compiled, the next ones load

.PHONY: demo test types kernels docs man clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nncomp needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/runtime: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install $(PIP) -e .
	touch $@

.venv/dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install $(PIP) -e '.[train,dev,docs]'
	touch $@ .venv/runtime

demo: .venv/runtime
	mkdir -p $(DEMO)
	$(BIN)/python -c 'import pydoc_data.topics as t, shutil; shutil.copy(t.__file__, "$(DEMO)/topics.py")'
	$(BIN)/nncomp compress -f -v $(DEMO)/topics.py
	$(BIN)/nncomp decompress -f $(DEMO)/topics.py.nnc -o $(DEMO)/topics.back.py
	cmp $(DEMO)/topics.py $(DEMO)/topics.back.py
	$(BIN)/nncomp list $(DEMO)/topics.py.nnc
	@echo "The text came back byte for byte."

test: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) -j 2 types kernels  # each keeps a core busy for a minute, the first time
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

types: .venv/dev
	$(BIN)/mypy

kernels: .venv/dev
	$(BIN)/python -m tests.prepare

docs: .venv/dev
	$(BIN)/mkdocs build --strict  # with -q it would not count its warnings

man: .venv/runtime
	$(BIN)/python -m nncomp.cli.man > share/man/man1/nncomp.1

clean:
	rm -rf .venv $(DEMO) build dist site *.egg-info
