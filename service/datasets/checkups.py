"""Request and show the check-up of a data set, which a worker makes."""

import time
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from core.checkups import queue
from core.checkups.findings import Findings
from core.db.tables import Checkup
from core.errors import Conflict, NotFound
from core.settings import Settings


class CheckupView(BaseModel):
    """The check-up of a data set's newest version."""

    dataset: str = Field(description="Name of the data set.")
    version: int = Field(description="Version that is checked.")
    state: Literal["waiting", "running", "done", "failed"] = Field(
        description="State. A check-up waits for a worker that has no job to train."
    )
    images: int = Field(description="Number of images that the network has looked at.")
    requested_at: datetime = Field(description="Time of the request, UTC.")
    finished_at: datetime | None = Field(description="Time of its end, UTC.")
    error: str | None = Field(description="Why it has failed.")
    findings: Findings | None = Field(description="What was found, once it is done.")


def request_if_wanted(session: Session, settings: Settings, name: str, version: int, images: int) -> None:
    """Queue the check-up of a new version, unless the settings forbid it.

    What was found in another version is forgotten.
    """
    if _refusal(settings, name, images):
        queue.forget(session, name)
    else:
        queue.request(session, name, version, time.time())


def request(session: Session, settings: Settings, name: str, version: int, images: int) -> CheckupView:
    """Queue a check-up, again if there was one; Conflict if the settings forbid it."""
    if reason := _refusal(settings, name, images):
        raise Conflict(reason)
    return _view(queue.request(session, name, version, time.time()))


def find(session: Session, settings: Settings, name: str, images: int) -> CheckupView:
    """Return the check-up of a data set; NotFound says why there is none."""
    found = queue.find(session, name)
    if found is None:
        reason = _refusal(settings, name, images) or f"POST /datasets/{name}/checkup requests one."
        raise NotFound(f"There is no check-up of {name}. {reason}")
    return _view(found)


def _refusal(settings: Settings, name: str, images: int) -> str | None:
    allowed = settings.max_checkup_images
    if not allowed:
        return "Check-ups are switched off: TUNESERVE_MAX_CHECKUP_IMAGES is 0."
    if images > allowed:
        return f"{name} has {images} images, and TUNESERVE_MAX_CHECKUP_IMAGES is {allowed}."
    return None


def _view(row: Checkup) -> CheckupView:
    return CheckupView(
        dataset=row.dataset,
        version=row.version,
        state=row.status.value,
        images=row.images,
        requested_at=datetime.fromtimestamp(row.requested_at, UTC),
        finished_at=None if row.finished_at is None else datetime.fromtimestamp(row.finished_at, UTC),
        error=row.error,
        findings=None if row.findings is None else Findings.model_validate(row.findings),
    )
