# One command per chore. PYTHON is the environment that the README's test command makes.
PYTHON ?= .venv/bin/python

.PHONY: lint test app figures

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m codespell_lib .

test:
	$(PYTHON) -m pytest -n 2

app:
	$(PYTHON) app.py

# Lines and files a folder, the longest files, layers and circles of imports, megabytes.
figures:
	$(PYTHON) -m tests.sizes
