"""What is wrong with what was sent, file by file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.errors import UnusableDataset

MAX_SHOWN = 1000  # of each severity
MAX_IN_A_SENTENCE = 3

Code = Literal[
    "bad_table",
    "class_case",
    "class_name",
    "damaged",
    "duplicate",
    "empty_class",
    "encrypted",
    "missing_file",
    "no_label",
    "not_a_file",
    "not_an_image",
    "too_few_classes",
    "too_few_images",
    "too_large",
    "truncated",
    "unsafe_path",
    "unused",
]


class Problem(BaseModel):
    model_config = ConfigDict(frozen=True)

    file: str = Field(description="The file or the class, as it was sent")
    code: Code = Field(description="Stable")
    reason: str = Field(description="What is wrong, for people")
    severity: Literal["warning", "error"] = Field(description="warning: left out; error: no training is possible")


@dataclass
class ValidationReport:
    """Filled along the way, so that one answer names every problem: a thousand of each severity, the rest counted."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    count: int = 0

    def warn(self, file: object, code: Code, reason: str) -> None:
        """That file is left out."""
        self._add(self.warnings, Problem(file=str(file), code=code, reason=reason, severity="warning"))

    def refuse(self, file: object, code: Code, reason: str) -> None:
        """There can be no training with this; ``check`` raises it."""
        self._add(self.errors, Problem(file=str(file), code=code, reason=reason, severity="error"))

    def check(self) -> None:
        """UnusableDataset with all problems, the errors first, if there is an error."""
        if self.errors:
            entries = [_entry(problem) for problem in self.errors + self.warnings]
            raise UnusableDataset(_sentence(self.errors[:MAX_IN_A_SENTENCE], self.count), entries)

    def _add(self, problems: list[Problem], problem: Problem) -> None:
        self.count += 1
        if len(problems) < MAX_SHOWN:
            problems.append(problem)


def _entry(problem: Problem) -> dict[str, str]:
    return {
        "pointer": problem.file,
        "detail": problem.reason,
        "code": problem.code,
        "severity": problem.severity,
    }


def _sentence(told: Sequence[Problem], count: int) -> str:
    reasons = " ".join(f"{error.file}: {error.reason}" for error in told)
    more = f" There are {count - len(told)} more problems." if count > len(told) else ""
    return f"This cannot be trained on. {reasons}{more}"
