"""pyproject.toml: each package imports only what its extra installs."""

import sys
import tomllib
from collections.abc import Set
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_architecture import HAVE_TORCH, MAY_IMPORT, arrows, read_sources, root

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, set[str]] = {  # otel, mlflow and pandas are looked for before they are imported
    "tuneserve": {"pandas"},
    "core": {"core", "otel"},
    "service": {"serve", "otel"},
    "worker": {"train", "otel", "mlflow"},
}
PARTS = {"starlette": "fastapi", "fontpkg": "fontpkg-noto-sans"}  # imported by itself, installed with another


def installed_by(extras: Set[str]) -> set[str]:
    """Return the modules of the libraries that ``tuneserve[extras]`` requires."""
    lines = sum((PROJECT["optional-dependencies"][extra] for extra in extras), PROJECT["dependencies"])
    required = {requirement.name: requirement for requirement in map(Requirement, lines)}
    included = required.pop(PROJECT["name"], None)
    names = {canonicalize_name(name) for name in required}
    found = {
        module
        for module, distributions in packages_distributions().items()
        if names & {canonicalize_name(PARTS.get(name, name)) for name in distributions}
    }
    return found | (installed_by(included.extras) if included else set())


@pytest.mark.parametrize("package", EXTRAS)
def test_a_package_imports_only_what_its_extra_installs(package: str) -> None:
    imported = {
        root(arrow.target)
        for arrow in arrows(read_sources())
        if root(arrow.origin) == package and arrow.origin not in HAVE_TORCH
    }
    assert imported - sys.stdlib_module_names - set(MAY_IMPORT) <= installed_by(EXTRAS[package])


def test_every_package_has_its_extra() -> None:
    assert EXTRAS.keys() == MAY_IMPORT.keys()
