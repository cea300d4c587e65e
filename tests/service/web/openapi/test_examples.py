"""The service answers as its OpenAPI description says.

Right requests are sent, and wrong ones.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from pydantic import SecretStr
from schemathesis import Case
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok
from schemathesis.generation.modes import GenerationMode
from schemathesis.schemas import APIOperation, BaseSchema

from core.db.tables import Model
from core.settings import Settings
from service.api.routes.uploads import PIECE
from tests.conftest import port_of, serving

LATER = {503: "not_ready", 504: "deadline_exceeded"}  # answers, and no errors of ours
# no schema says which bytes are an image or a data set, which tensors, files and fields of a recipe fit together, nor
# that the first key is an admin's
UNTOLD = (
    "/keys",
    "/jobs",
    "/embed",
    "/embed/{reference}",
    "/predict",
    "/predict/{reference}",
    "/batches",
    "/datasets",
    "/uploads",
    "/v2/models/{name}/infer",
)
EXAMPLES = int(os.environ.get("EXAMPLES", "3"))  # of each operation, right ones and wrong ones each
KEY = "b0ss-" * 4
schemathesis.serializer.alias(PIECE, "application/octet-stream")  # a type that only tus has
PATIENCE_S = 70  # a valid ?wait= is up to 60
TESTED = hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "max_queued_jobs": 100_000,
            "max_queued_batches": 100_000,
            "max_queued_jobs_per_key": 100_000,
            "max_queued_batches_per_key": 100_000,
            "max_open_uploads": 100_000,
        }
    )


@pytest.fixture
def services(settings: Settings, published: Callable[..., Model]) -> Iterator[dict[bool, str]]:
    """The URLs of a service without keys and of one with, by that; each has a model."""
    published()
    own = settings.data_dir.with_name("with_keys")
    shutil.copytree(settings.data_dir, own)
    keys = settings.model_copy(update={"api_keys": SecretStr(f"boss:admin:{KEY}"), "data_dir": own})
    with serving(settings) as without, serving(keys) as having:
        yield {has_keys: f"http://127.0.0.1:{port_of(one)}" for has_keys, one in ((False, without), (True, having))}


def load(url: str, needs_key: bool) -> BaseSchema:
    """Load the description for schemathesis.

    It describes the keys that there may be. A wrong request must not be one that merely lacks its key, since ``check``
    puts that in.
    """
    document = httpx.get(f"{url}/openapi.json").json()
    if not needs_key:
        del document["components"]["securitySchemes"]
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    return schema


def check(case: Case[Any], url: str, has_keys: bool) -> list[str]:
    """List what is wrong with a service's answer to a case."""
    headers = {"Authorization": f"Bearer {KEY}"} if has_keys else {}
    answer = case.call(url, timeout=PATIENCE_S, headers=headers)
    if answer.status_code == 401:
        return [f"{case.as_curl_command()}: the key was not taken\n{answer.text}"]
    body = answer.json() if answer.status_code in LATER else {}  # the Open Inference Protocol has no codes
    excused = body and (body.get("code") == LATER[answer.status_code] or list(body) == ["error"])
    left_out = ["not_a_server_error"] * bool(excused)
    left_out += ["positive_data_acceptance"] * (case.method == "POST" and case.path in UNTOLD)
    left_out += ["ignored_auth"] * (not has_keys)  # nobody is asked for a key
    checks: list[Any] = CHECKS.get_by_names([name for name in CHECKS.get_all_names() if name not in left_out])
    try:
        case.validate_response(answer, checks=checks, headers=headers)
    except AssertionError as wrong:
        return [f"{case.as_curl_command()}: {wrong}\n{answer.text}"]
    except BaseExceptionGroup as wrong:
        return [f"{case.as_curl_command()}: {each}\n{answer.text}" for each in wrong.exceptions]
    return []


def can_be_wrong(operation: APIOperation[Any, Any, Any, Any]) -> bool:
    """Check whether an operation can get a wrong request.

    Any text is a right id in a path. Looking in vain for a wrong one takes half a second for each operation.
    """
    given = [parameter.definition for parameter in operation.iter_parameters()]
    return bool(operation.body) or any(one["in"] != "path" or "pattern" in one["schema"] for one in given)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_operation_answers_as_described(services: dict[bool, str], mode: GenerationMode) -> None:
    """To find an example costs more than to send it: a service with keys gets the same ones as one without."""
    found: list[str] = []
    tried = 0

    for result in load(services[True], needs_key=mode is GenerationMode.POSITIVE).get_all_operations():
        assert isinstance(result, Ok)
        if mode is GenerationMode.NEGATIVE and not can_be_wrong(result.ok()):
            continue

        @TESTED
        @hypothesis.given(case=result.ok().as_strategy(generation_mode=mode))
        def try_it(case: Case[Any]) -> None:
            nonlocal tried
            tried += 1
            for has_keys, url in services.items():
                found.extend(check(case, url, has_keys))

        try_it()
    assert found == []
    assert tried > EXAMPLES
