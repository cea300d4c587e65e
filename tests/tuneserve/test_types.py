"""tuneserve.types: what type checkers are told is what the service answers."""

import functools
import json
import operator
from datetime import datetime
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from core.inference import prediction
from service.api.routes import api_keys, embed, predict, uploads
from service.api.schemas import batches, jobs, models
from service.datasets import catalog, validation_report, versions
from tuneserve import types

SAME: dict[type[BaseModel], Any] = {
    jobs.PhaseView: types.Phase,
    jobs.JobError: types.JobError,
    jobs.JobView: types.Job,
    models.ModelView: types.Model,
    models.TestResult: types.TestResult,
    models.AliasView: types.Alias,
    batches.BatchView: types.Batch,
    prediction.Candidate: types.Candidate,
    prediction.Neighbour: types.Neighbour,
    prediction.Prediction: types.Prediction,
    predict.Predictions: types.Predictions,
    embed.Embedding: types.Embedding,
    embed.Embeddings: types.Embeddings,
    validation_report.Problem: types.Problem,
    versions.DatasetCard: types.DatasetCard,
    versions.VersionView: types.DatasetVersion,
    catalog.DatasetSummary: types.DatasetSummary,
    api_keys.KeyView: types.Key,
    api_keys.MadeKey: types.MadeKey,
    uploads.UploadView: types.Upload,
}
OPEN = (validation_report.Problem,)  # its codes grow: no client should rely on having seen them all
EXAMPLES = Path(str(files("service"))) / "web" / "openapi"


def as_json(kind: Any) -> Any:
    """Return the type that a type has in JSON."""
    if kind in SAME:
        return SAME[kind]
    if kind is datetime:
        return str
    if isinstance(kind, type) and issubclass(kind, Enum):
        return Literal[tuple(member.value for member in kind)]
    origin, parts = get_origin(kind), get_args(kind)
    if not parts or origin is Literal:
        return kind
    inner = tuple(map(as_json, parts))
    return (
        cast(Any, origin)[inner]
        if isinstance(origin, type) and origin in (list, dict)
        else functools.reduce(operator.or_, inner)
    )


@pytest.mark.parametrize("theirs", SAME, ids=lambda theirs: theirs.__name__)
def test_each_shape_has_the_services_fields_with_their_types(theirs: type[BaseModel]) -> None:
    told, fields = get_type_hints(SAME[theirs]), theirs.model_fields
    answered = {name: as_json(field.annotation) for name, field in fields.items()}
    if theirs in OPEN:
        answered["code"] = str
    assert told == answered


@pytest.mark.parametrize(
    ("file", "shape", "omitted"),
    [
        ("JobView", types.Job, set()),
        ("ModelView", types.Model, set()),
        ("BatchView", types.Batch, set()),
        ("Predictions", types.Predictions, {"neighbours_among"}),
    ],
)
def test_the_services_examples_have_these_shapes(file: str, shape: Any, omitted: set[str]) -> None:
    example = json.loads((EXAMPLES / f"{file}.json").read_text())
    assert example.keys() == get_type_hints(shape).keys() - omitted


def test_a_record_has_known_omitted_and_new_fields_as_attributes() -> None:
    one = json.loads('{"label": "cat", "abstained": false, "new": {"at": 1}}', object_hook=types.Record)
    one = types.Prediction(one)
    assert (one.label, one.probability, one.new.at) == ("cat", None, 1)
    assert json.loads(json.dumps(one)) == {"label": "cat", "abstained": False, "new": {"at": 1}}
    with pytest.raises(AttributeError, match="no field lable in Prediction; it has label, abstained, new"):
        _ = one.lable


def test_type_checkers_are_told_that_the_client_has_types() -> None:
    assert files("tuneserve").joinpath("py.typed").is_file()
