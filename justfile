# The commands of daily work; `just` lists them. It comes with the development group: in a shell where .venv is
# activated it is `just`, elsewhere `.venv/bin/just`. CI calls the same recipes.

set positional-arguments

export PATH := justfile_directory() / ".venv/bin:" + env("PATH")

_list:
    @just --list --unsorted

# Install everything that pyproject.toml names into .venv
setup:
    python3 -m venv .venv && .venv/bin/pip install -q uv && .venv/bin/uv sync --all-extras

# Run all tests, in parallel
test *options:
    pytest "$@"

# Run the tests of one file or folder in one process: just test-one tests/core -k claim
test-one path *options:
    pytest -n 0 "$@"

# Run all tests and report which lines they execute
coverage *options:
    pytest --cov --cov-report=term:skip-covered "$@"

# Run what needs no test: lint, types
[parallel]
check: lint types

# Check style and format of the Python files
lint:
    ruff check .
    ruff format --check .

# Correct what ruff can correct by itself
format:
    ruff check --fix .
    ruff format .

# Check the types of the Python files
types:
    mypy

# Lint and type-check the page's scripts (needs npm)
page:
    .ci/check-page

# Run service and worker until Ctrl-C: just serve --port 9000
serve *options:
    tuneserve up "$@"

# Train on the embedded digits, then ask the new model
demo *options:
    tuneserve demo "$@"

# Run a benchmark: just bench predict
bench name *options:
    python -m benchmarks."$@"

# Build an image: just image worker
image target="service":
    docker build --target {{ target }} --tag tuneserve-{{ target }} .

# Build the wheel into dist/
wheel:
    uv build --wheel

# Write a migration after a change of core/db/tables.py: just migration 0002 "..."
migration number message:
    alembic upgrade head && alembic revision --autogenerate --rev-id "$1" -m "$2"
