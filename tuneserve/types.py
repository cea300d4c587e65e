"""Types of the service's responses; /docs describes each field.

tests/tuneserve/test_types.py compares them with the service's schemas.
"""

from typing import Any, Literal, NotRequired, Required, TypedDict

Status = Literal["queued", "running", "paused", "cancelling", "succeeded", "failed", "cancelled"]
PhaseName = Literal["starting", "preparing_data", "training", "evaluating", "publishing"]
BatchStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Scope = Literal["predict", "read", "train", "admin"]


class Phase(TypedDict):
    phase: PhaseName
    started_at: str
    ended_at: str | None
    message: str


class JobError(TypedDict):
    code: str
    message: str
    hint: str
    traceback_tail: str


class Job(TypedDict):
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


class RecipeWarning(TypedDict):
    pointer: str
    detail: str


class AcceptedJob(Job):
    warnings: list[RecipeWarning]


class TestResult(TypedDict):
    correct: int
    images: int
    low: float
    high: float


class Model(TypedDict):
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


class DefaultName(TypedDict):
    name: str
    pinned: bool


class Alias(TypedDict):
    model: str
    name: str
    model_id: str
    version: int
    updated_at: str


class Candidate(TypedDict):
    label: str
    probability: float


class Neighbour(TypedDict, total=False):
    """A training image near to an image; unknown fields are omitted."""

    image: int
    label: Required[str]
    distance: Required[float]
    thumbnail: str


class Prediction(TypedDict, total=False):
    """The prediction for one image.

    Unknown fields are omitted; with an ``error``, all but ``abstained`` are.
    """

    label: str
    class_index: int
    probability: float
    top_k: list[Candidate]
    abstained: Required[bool]
    reason: str
    ood_score: float
    preprocessing: dict[str, Any]
    model_input: str
    saliency_map: str
    neighbours: list[Neighbour]
    error: dict[str, Any]


class Predictions(TypedDict):
    model: dict[str, Any]
    predictions: list[Prediction]
    timing_ms: dict[str, float]
    neighbours_among: NotRequired[dict[str, Any]]


class Embedding(TypedDict, total=False):
    """The features of one image, or why it has none; unknown fields are omitted."""

    features: list[float]
    reason: str
    error: dict[str, Any]


class Embeddings(TypedDict):
    model: dict[str, Any]
    dimension: int
    embeddings: list[Embedding]
    timing_ms: dict[str, float]


class Batch(TypedDict):
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


class Upload(TypedDict):
    id: str
    name: str | None
    owner: str | None
    offset: int
    length: int
    created_at: str
    expires_at: str


class Problem(TypedDict):
    file: str
    code: str
    reason: str
    severity: Literal["warning", "error"]


class DatasetCard(TypedDict):
    name: str
    version: int
    created_at: str
    layout: Literal["folders", "table", "idx"]
    digest: str
    images: int
    classes: dict[str, dict[str, int]]
    problems: list[Problem]
    problem_count: int


class DatasetSummary(TypedDict):
    name: str
    kind: Literal["built_in", "uploaded", "folder"]
    available: bool
    version: int | None
    images: int | None
    classes: int | None


class DatasetVersion(TypedDict):
    version: int
    created_at: str
    images: int
    classes: int
    digest: str


DatasetImage = TypedDict(  # class is a word of Python's own
    "DatasetImage", {"id": int, "class": str, "part": str, "file": str, "digest": str, "thumbnail": str}
)


class Key(TypedDict):
    id: str
    name: str
    scopes: list[Scope]
    models: list[str] | None
    created_at: str | None
    revoked_at: str | None


class MadeKey(Key):
    key: str
