"""Types of the service's responses; /docs describes each field.

tests/tuneserve/test_types.py compares them with the service's schemas.
"""

from typing import Any, Literal, get_type_hints

Status = Literal["queued", "running", "paused", "cancelling", "succeeded", "failed", "cancelled"]
PhaseName = Literal["starting", "preparing_data", "training", "evaluating", "publishing"]
BatchStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Scope = Literal["predict", "read", "train", "admin"]


class Record(dict[str, Any]):
    """JSON object whose fields can be read as attributes too.

    Fields that this version does not know are there as well. A field that it knows and the service omits is None.
    """

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name.startswith("_") or name not in get_type_hints(type(self)):
            raise AttributeError(f"There is no field {name} in {type(self).__name__}; it has {', '.join(self)}")
        return None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]


class Phase(Record):
    phase: PhaseName
    started_at: str
    ended_at: str | None
    message: str


class JobError(Record):
    code: str
    message: str
    hint: str
    traceback_tail: str


class Job(Record):
    id: str
    name: str | None
    status: Status
    pausing: bool
    phase: PhaseName | None
    recipe: dict[str, Any]
    resolved_recipe: dict[str, Any] | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    estimated_finish: str | None
    progress: dict[str, Any]
    metrics: dict[str, Any]
    timing: dict[str, Any]
    device: dict[str, Any]
    phases: list[Phase]
    attempt: int
    resumed_from: str | None
    model_id: str | None
    error: JobError | None
    metadata: dict[str, str]
    links: dict[str, str]


class RecipeWarning(Record):
    pointer: str
    detail: str


class AcceptedJob(Job):
    warnings: list[RecipeWarning]


class TestResult(Record):
    correct: int
    images: int
    low: float
    high: float


class Model(Record):
    id: str
    name: str
    version: int
    job_id: str
    aliases: list[str]
    created_at: str
    network: str
    dataset: str
    dataset_digest: str
    test_digest: str
    classes: list[str]
    test_accuracy: float
    test: TestResult
    metrics: dict[str, Any]
    timing: dict[str, Any]
    best_epoch: int
    recipe: dict[str, Any]
    preparation: dict[str, Any]
    per_class: list[dict[str, Any]]
    confusion_matrix: list[list[int]]
    calibration: dict[str, Any] | None
    ood: dict[str, Any] | None
    serving: dict[str, Any] | None
    device: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, dict[str, Any]]
    files_deleted_at: str | None
    served_at: str | None
    publication: dict[str, Any] | None
    links: dict[str, str]


class DefaultName(Record):
    name: str
    pinned: bool


class Alias(Record):
    model: str
    name: str
    model_id: str
    version: int
    updated_at: str


class Candidate(Record):
    label: str
    probability: float


class Neighbour(Record):
    """A training image near to an image."""

    image: int | None
    label: str
    distance: float
    thumbnail: str | None


class Prediction(Record):
    """The prediction for one image.

    Fields without a value are omitted; with an ``error``, all but ``abstained`` are.
    """

    label: str | None
    class_index: int | None
    probability: float | None
    top_k: list[Candidate] | None
    abstained: bool
    reason: str | None
    ood_score: float | None
    preprocessing: dict[str, Any] | None
    model_input: str | None
    saliency_map: str | None
    neighbours: list[Neighbour] | None
    error: dict[str, Any] | None


class Predictions(Record):
    model: dict[str, Any]
    predictions: list[Prediction]
    timing_ms: dict[str, float]
    neighbours_among: dict[str, Any] | None


class Embedding(Record):
    """The features of one image, or why it has none."""

    features: list[float] | None
    reason: str | None
    error: dict[str, Any] | None


class Embeddings(Record):
    model: dict[str, Any]
    dimension: int
    embeddings: list[Embedding]
    timing_ms: dict[str, float]


class Batch(Record):
    id: str
    status: BatchStatus
    model: str | None
    top_k: int
    preprocess: str
    model_id: str | None
    total: int | None
    done: int
    errors: int
    attempt: int
    error: JobError | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    links: dict[str, str]


class Upload(Record):
    id: str
    name: str | None
    owner: str | None
    offset: int
    length: int
    created_at: str
    expires_at: str


class Problem(Record):
    file: str
    code: str
    reason: str
    severity: Literal["warning", "error"]


class DatasetCard(Record):
    name: str
    version: int
    created_at: str
    layout: Literal["folders", "table", "idx"]
    digest: str
    images: int
    classes: dict[str, dict[str, int]]
    problems: list[Problem]
    problem_count: int
    group_pattern: str


class DatasetSummary(Record):
    name: str
    kind: Literal["built_in", "uploaded", "folder"]
    available: bool
    version: int | None
    images: int | None
    classes: int | None


class DatasetVersion(Record):
    version: int
    created_at: str
    images: int
    classes: int
    digest: str


class DatasetImage(Record):
    """An image of a data set.

    Its class is ``["class"]``, since `class` is a keyword of Python.
    """

    id: int
    part: str
    file: str
    digest: str
    thumbnail: str


class SeenImage(Record):
    """An image in a finding; its class is ``["class"]``."""

    id: int | None
    part: str
    file: str


class RareClass(Record):
    """A class with few images; its name is ``["class"]``."""

    images: int
    largest: int


class NearDuplicate(Record):
    image: SeenImage
    like: SeenImage
    score: float
    leak: bool


class WrongLabel(Record):
    image: SeenImage
    suggested: str
    score: float


class UnusualImage(Record):
    image: SeenImage
    score: float


class Findings(Record):
    near_duplicates: list[NearDuplicate]
    near_duplicate_count: int
    leak_count: int
    wrong_labels: list[WrongLabel]
    wrong_label_count: int
    unusual_images: list[UnusualImage]
    unusual_image_count: int
    rare_classes: list[RareClass]


class Checkup(Record):
    dataset: str
    version: int
    state: Literal["waiting", "running", "done", "failed"]
    images: int
    requested_at: str
    finished_at: str | None
    error: str | None
    findings: Findings | None


class Key(Record):
    id: str
    name: str
    scopes: list[Scope]
    models: list[str] | None
    created_at: str | None
    revoked_at: str | None


class MadeKey(Key):
    key: str
