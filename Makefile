# One command per chore. PYTHON is the environment that the README's test command makes.
PYTHON ?= .venv/bin/python

.PHONY: lint test app

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m codespell_lib .

test:
	$(PYTHON) -m pytest -n 2

app:
	$(PYTHON) app.py
