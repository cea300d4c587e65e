"""Report what is wrong with an upload, file by file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.errors import UnusableDataset

MAX_SHOWN = 1000  # of each severity
MAX_IN_A_SENTENCE = 3
MAX_FILE_LENGTH, MAX_REASON_LENGTH = 300, 1000  # characters: names are the sender's, and may be of any length

Code = Literal[
    "bad_table",
    "class_case",
    "class_name",
    "damaged",
    "duplicate",
    "empty_class",
    "encrypted",
    "group_name",
    "group_parts",
    "long_name",
    "missing_file",
    "name_encoding",
    "no_label",
    "not_a_file",
    "not_an_image",
    "same_bytes",
    "same_folders",
    "too_few_classes",
    "too_few_images",
    "too_large",
    "truncated",
    "two_labels",
    "unknown_split",
    "unsafe_path",
    "unused",
]
Severity = Literal["warning", "error"]


class Problem(BaseModel):
    model_config = ConfigDict(frozen=True)

    file: str = Field(description="Name of the file or class as sent.")
    code: Code = Field(description="Stable code of the problem.")
    reason: str = Field(description="What is wrong, for people.")
    severity: Severity = Field(description="warning: the file is left out; error: the data set cannot be trained on.")


@dataclass
class ValidationReport:
    """A collected report, so that one answer names every problem.

    It keeps a thousand of each severity and counts the rest.
    """

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    count: int = 0

    def warn(self, file: object, code: Code, reason: str) -> None:
        """Add a warning: that file is left out."""
        self._add(self.warnings, file, code, reason, "warning")

    def refuse(self, file: object, code: Code, reason: str) -> None:
        """Add an error, which makes training impossible.

        ``check`` raises it.
        """
        self._add(self.errors, file, code, reason, "error")

    def check(self) -> None:
        """Raise UnusableDataset with all problems if any is an error.

        The errors come first.
        """
        if self.errors:
            entries = [_entry(problem) for problem in self.errors + self.warnings]
            raise UnusableDataset(_sentence(self.errors[:MAX_IN_A_SENTENCE], self.count), entries)

    def _add(self, problems: list[Problem], file: object, code: Code, reason: str, severity: Severity) -> None:
        self.count += 1
        if len(problems) < MAX_SHOWN:
            problems.append(_problem(file, code, reason, severity))


def _problem(file: object, code: Code, reason: str, severity: Severity) -> Problem:
    shown, why = _shortened(str(file), MAX_FILE_LENGTH), _shortened(reason, MAX_REASON_LENGTH)
    return Problem(file=shown, code=code, reason=why, severity=severity)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


def _entry(problem: Problem) -> dict[str, str]:
    return {
        "pointer": problem.file,
        "detail": problem.reason,
        "code": problem.code,
        "severity": problem.severity,
    }


def _sentence(shown: Sequence[Problem], count: int) -> str:
    reasons = " ".join(f"{error.file}: {error.reason}" for error in shown)
    more = f" There are {count - len(shown)} more problems." if count > len(shown) else ""
    return f"This cannot be trained on. {reasons}{more}"
