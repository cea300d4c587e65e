"""Who may import whom. Read from the sources with ``ast``; the rules are shown to be able to fail at the end."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("core", "service", "worker", "client", "tests", "benchmarks")
MAY_IMPORT = {"core": ("core",), "service": ("core", "service"), "worker": ("core", "worker"), "client": ("client",)}

# inside core an arrow goes down or stays in its row
CORE_ROWS = (
    (
        "core",
        "core.cpus",
        "core.settings",
        "core.errors",
        "core.ids",
        "core.idx",
        "core.logs",
        "core.scopes",
        "core.urls",
        "core.networks",
        "core.model_files",
        "core.digits*",
        "core.tracing",
    ),
    (
        "core.clocks",
        "core.recipe",
        "core.db",
        "core.store",
        "core.images",
        "core.familiarity",
        "core.batch_files",
        "core.manifest",
        "core.network",
        "core.predictions",
        "core.tables",
        "core.migrations*",
    ),
    (
        "core.claims",
        "core.control",
        "core.jobs",
        "core.batches",
        "core.events",
        "core.exports",
        "core.checkpoints",
        "core.models",
        "core.predictor",
        "core.webhooks",
        "core.keys",
        "core.creations",
    ),
)

# the one home of each library that is not Python's own, or of a part of it
HOMES = {
    "HersheyFonts": ("worker.handwriting",),
    "alembic": ("core.db", "core.migrations.*"),
    "fastapi": ("service.*",),
    "fastapi_offline": ("service.app",),
    "fontpkg": ("service.datasets.sheet",),
    "httpx": ("client.*", "service.outbound"),
    "jinja2": ("service.report.environment",),
    "numpy": ("core.*", "service.*", "worker.*"),
    "mlflow": ("worker.mlflow_runs",),
    "onnx": ("worker.quantize",),
    "onnxruntime": (
        "core.predictor",
        "worker.checkpointing",
        "worker.export",
        "worker.probes",
        "worker.quantize",
        "worker.serving",
    ),
    "opentelemetry": ("core.tracing", "service.tracing", "worker.tracing"),
    "PIL": (
        "core.digits.form",
        "core.images",
        "service.datasets.images",
        "service.datasets.sheet",
        "service.explain",
        "service.inputs",
        "worker.batch_images",
        "worker.model_report",
    ),
    "prometheus_client": ("service.metrics", "service.routes.metrics"),
    "pydantic": ("core.*", "service.*"),
    "pygal": ("service.curves", "service.report.calibration"),
    "pydantic_settings": ("core.settings",),
    "rich": ("client.*",),
    "safetensors": ("core.manifest", "worker.weights"),
    "sqlalchemy": ("core.*",),  # every query; elsewhere only these two
    "sqlalchemy.exc": (  # a database that does not answer
        "core.*",
        "service.access",
        "service.reloader",
        "service.checks",
        "service.routes.metrics",
        "worker.doctor",
        "worker.report",
        "worker.trainer",
    ),
    "sqlalchemy.orm": (  # the type of a session
        "core.*",
        "service.routes.datasets",
        "service.routes.keys",
        "service.routes.uploads",
        "service.routes.jobs",
        "service.routes.predictions",
        "worker.checkpointing",
        "worker.report",
    ),
    "standardwebhooks": ("service.webhooks",),
    "starlette": ("service.*",),
    "torch": ("core.familiarity", "core.network", "service.torch_predictor", "worker.*"),
    "torchvision": ("core.network", "worker.*"),
    "typer": ("client.*",),
    "uvicorn": ("service.server",),
}
TORCH = ("torch", "torchvision")
HAVE_TORCH = ("core.familiarity", "core.network", "service.torch_predictor")  # besides the trainer's files
parse = cache(ast.parse)
NOT_STATE = ("router", "log", "app", "console", "__all__")

Sources = Mapping[str, str]  # module -> its text


@dataclass(frozen=True)
class Arrow:
    origin: str
    target: str
    at_import: bool  # not inside a function

    def __str__(self) -> str:
        return f"{self.origin} -> {self.target}"


@cache
def read_sources() -> dict[str, str]:
    found = {}
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path.read_text()
    return found


def arrows(sources: Sources) -> list[Arrow]:
    return [
        Arrow(module, target, at_import)
        for module, text in sources.items()
        for node, at_import in _imports(parse(text))
        for target in _targets(node, sources)
    ]


def _imports(node: ast.AST, at_import: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_import
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(child, at_import and not inside)


def _targets(node: ast.Import | ast.ImportFrom, sources: Sources) -> list[str]:
    """Full module names: ``from core import jobs`` means core.jobs, ``from core.jobs import Claim`` too."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "imports are absolute here"
    base = node.module or ""
    return [name if (name := f"{base}.{alias.name}") in sources else base for alias in node.names]


def root(module: str) -> str:
    return module.split(".")[0]


def fits(module: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(module, pattern) for pattern in patterns)


def at_import(sources: Sources) -> dict[str, set[str]]:
    """What importing a module imports: its arrows, and the packages that hold it."""
    following: dict[str, set[str]] = {module: set() for module in sources}
    for arrow in arrows(sources):
        if arrow.at_import:
            following[arrow.origin].add(arrow.target)
    return following


def reachable(start: str, following: Mapping[str, set[str]]) -> set[str]:
    seen, waiting = set(), {start}
    while waiting:
        module = waiting.pop()
        seen.add(module)
        parents = {module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)}
        waiting |= (following.get(module, set()) | parents) - seen
    return seen


# -- the rules: each gives what breaks it


def wrong_packages(sources: Sources) -> list[str]:
    return [
        str(arrow)
        for arrow in arrows(sources)
        if root(arrow.target) in OURS and root(arrow.target) not in MAY_IMPORT[root(arrow.origin)]
    ]


def wrong_way_in_core(sources: Sources) -> list[str]:
    def row(module: str) -> int:
        return next(number for number, names in enumerate(CORE_ROWS) if fits(module, names))

    inside = [arrow for arrow in arrows(sources) if root(arrow.origin) == root(arrow.target) == "core"]
    return [str(arrow) for arrow in inside if row(arrow.target) > row(arrow.origin)]


def in_cycles(sources: Sources) -> list[str]:
    following = at_import(sources)
    own = {module: targets & set(sources) for module, targets in following.items()}

    def comes_back(start: str) -> bool:
        seen: set[str] = set()
        waiting = set(own[start])
        while waiting:
            seen.add(module := waiting.pop())
            waiting |= own[module] - seen
        return start in seen

    return [module for module in sources if comes_back(module)]


def needlessly_with_torch(sources: Sources) -> list[str]:
    """The trainer's files are those of the worker that its loop does not import."""
    following = at_import(sources)
    of_the_loop = reachable("worker.__main__", following) | reachable("worker.loop", following)
    return [
        module
        for module in sources
        if {root(target) for target in reachable(module, following)} & set(TORCH)
        and module not in HAVE_TORCH
        and (root(module) != "worker" or module in of_the_loop)
    ]


def away_from_home(sources: Sources) -> list[str]:
    return [
        str(arrow)
        for arrow in arrows(sources)
        if (library := root(arrow.target)) not in OURS
        and library not in sys.stdlib_module_names
        and not fits(arrow.origin, HOMES.get(arrow.target, HOMES.get(library, ())))
    ]


def mutable_state(sources: Sources) -> list[str]:
    found = []
    for module, text in sources.items():
        tree = parse(text)
        for statement in tree.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign) and _is_mutable(statement.value):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                names = [ast.unparse(target) for target in targets]
                found += [f"{module}.{name}" for name in names if not name.isupper() and name not in NOT_STATE]
        found += [f"{module}: global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
    return found


def _is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).split(".")[-1] in ("list", "dict", "set", "deque", "defaultdict", "Counter")
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


# -- the project


Rule = Callable[[Sources], list[str]]
RULES: tuple[Rule, ...] = (
    wrong_packages,
    wrong_way_in_core,
    in_cycles,
    needlessly_with_torch,
    away_from_home,
    mutable_state,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps_the_rule(rule: Rule) -> None:
    assert rule(read_sources()) == []


def test_every_module_is_read() -> None:
    sources = read_sources()
    assert {"core", "core.jobs", "service.routes.predict", "worker.__main__", "client.cli"} <= set(sources)
    assert Arrow("service.routes.jobs", "core.checkpoints", at_import=True) in arrows(sources)
    assert Arrow("service.loading", "service.torch_predictor", at_import=False) in arrows(sources)


def test_every_named_home_is_used() -> None:
    """A home that nobody lives in any more is taken off the list."""
    used = [(arrow.target, arrow.origin) for arrow in arrows(read_sources())]
    homes = [(library, home) for library, homes in HOMES.items() for home in homes if home != "core.*"]
    assert [
        (library, home)
        for library, home in homes
        if not any(fits(target, (library, f"{library}.*")) and fits(origin, (home,)) for target, origin in used)
    ] == []


def test_service_loop_and_command_line_start_without_torch() -> None:
    check = (
        "import service.server, worker.__main__, client.cli, sys\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'torchvision')])"
    )
    ran = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (ran.stdout.strip(), ran.returncode) == ("[]", 0), ran.stderr


# -- the rules can fail


@pytest.mark.parametrize(
    ("rule", "sources"),
    [
        (wrong_packages, {"service.a": "from worker import loop"}),
        (wrong_packages, {"worker.a": "def f():\n    import service.app"}),
        (wrong_packages, {"core.a": "import client.api"}),
        (wrong_packages, {"client.a": "from core.settings import Settings"}),
        (wrong_packages, {"service.a": "from tests.fakes import image_of"}),
        (wrong_way_in_core, {"core.db": "from core import jobs", "core.jobs": ""}),
        (wrong_way_in_core, {"core.settings": "def f():\n    from core.db import Database", "core.db": ""}),
        (in_cycles, {"core.a": "import core.b", "core.b": "from core import c", "core.c": "import core.a"}),
        (needlessly_with_torch, {"core.a": "try:\n    import torch.nn\nexcept ImportError:\n    pass"}),
        (needlessly_with_torch, {"service.app": "import core.network", "core.network": "import torch"}),
        (needlessly_with_torch, {"service.a.b": "", "service.a": "import torchvision"}),
        (needlessly_with_torch, {"worker.loop": "import worker.data", "worker.data": "import torch"}),
        (away_from_home, {"service.a": "def f():\n    from sqlalchemy import select"}),
        (away_from_home, {"worker.report": "from sqlalchemy import select"}),
        (away_from_home, {"core.a": "import fastapi"}),
        (away_from_home, {"client.a": "import pandas"}),
        (mutable_state, {"core.a": "cache = {}"}),
        (mutable_state, {"core.a": "seen: set[str] = set()"}),
        (mutable_state, {"core.a": "import collections\nwaiting = collections.deque()"}),
        (mutable_state, {"core.a": "def f():\n    global count"}),
    ],
    ids=lambda value: getattr(value, "__name__", "sources"),
)
def test_a_source_that_breaks_the_rule_is_found(rule: Rule, sources: Sources) -> None:
    assert rule(sources)


@pytest.mark.parametrize(
    ("rule", "sources"),
    [
        (wrong_packages, {"service.a": "from core.db import Database\nimport service.b"}),
        (wrong_way_in_core, {"core.jobs": "from core import events", "core.events": "from core.db import Database"}),
        (in_cycles, {"core.a": "import core.b", "core.b": "def f():\n    import core.a"}),
        (needlessly_with_torch, {"worker.loop": "", "worker.train": "import torch"}),
        (needlessly_with_torch, {"service.app": "def f():\n    import service.torch_predictor"}),
        (away_from_home, {"core.a": "import json, sqlalchemy.orm"}),
        (mutable_state, {"core.a": "LIMITS = {1: 2}\nnames = ('a', 'b')\ndef f():\n    found = []"}),
    ],
    ids=lambda value: getattr(value, "__name__", "sources"),
)
def test_a_source_that_keeps_the_rule_is_not_found(rule: Rule, sources: Sources) -> None:
    assert rule(sources) == []
