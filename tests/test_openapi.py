"""The service answers as its own OpenAPI description says, whatever is sent: right requests and wrong ones."""

from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from core.tables import Model

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
LATER = {503: "not_ready", 504: "deadline_exceeded"}  # answers, and no errors of ours
EXAMPLES = 8  # of each operation, right ones and wrong ones each
PATIENCE_S = 70  # a valid ?wait= is up to 60
TESTED = hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def check(case: Case[Any]) -> list[str]:
    """What is wrong with the answer."""
    answer = case.call(timeout=PATIENCE_S)
    body = answer.json() if answer.status_code in LATER else {}  # the Open Inference Protocol has no codes
    excused = body and (body.get("code") == LATER[answer.status_code] or list(body) == ["error"])
    checks = CHECKS if excused else [not_a_server_error, *CHECKS]
    try:
        case.validate_response(answer, checks=checks)
    except AssertionError as wrong:
        return [f"{case.as_curl_command()}: {wrong}\n{answer.text}"]
    except BaseExceptionGroup as wrong:
        return [f"{case.as_curl_command()}: {each}\n{answer.text}" for each in wrong.exceptions]
    return []


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_operation_answers_as_described(
    published: Callable[..., Model], request: pytest.FixtureRequest, mode: GenerationMode
) -> None:
    published()
    schema = schemathesis.openapi.from_url(f"{request.getfixturevalue('live')}/openapi.json")
    found: list[str] = []
    tried = 0

    for result in schema.get_all_operations():
        assert isinstance(result, Ok)

        @TESTED
        @hypothesis.given(case=result.ok().as_strategy(generation_mode=mode))
        def try_it(case: Case[Any]) -> None:
            nonlocal tried
            tried += 1
            found.extend(check(case))

        try:
            try_it()
        except hypothesis.errors.Unsatisfiable:
            continue  # nothing wrong can be sent where nothing is taken
    assert found == []
    assert tried > EXAMPLES
