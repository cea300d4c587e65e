"""Report images that are in a data set more than once."""

from dataclasses import dataclass

from service.datasets.layouts.parts import Part
from service.datasets.validation_report import ValidationReport


@dataclass(frozen=True)
class Occurrence:
    where: str  # the file, or which image of it
    label: str
    part: Part


def report_repeated(again: Occurrence, first: Occurrence, report: ValidationReport) -> None:
    """Compare two occurrences of the same bytes.

    Of two classes one is wrong, and a test on an image of the training is none. Within a class and part they are kept.
    """
    same = f"It holds the same bytes as {first.where}"
    if first.label != again.label:
        reason = f"{same}, which is of the class {first.label}: leave one of them out."
        report.refuse(again.where, "two_labels", reason)
    elif first.part != again.part:
        report.warn(again.where, "same_bytes", f"{same} in the {first.part} part. It is kept: leave one of them out.")
