"""Models and their movable names. Bytes first, then the row, then the alias."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.tables import Alias, Model

LATEST = "latest"  # the newest model
BEST = "best"  # the highest test accuracy on the data set of the newest model
SERVING = "serving"  # what /predict answers with when no model is named


def publish(session: Session, model_id: str, job_id: str, key: str, card: dict[str, Any], now: float) -> Model:
    """Write the row of a model whose files are stored already, and move the aliases to it.

    To be called in the transaction that ends the job: whoever sees one sees the other.
    """
    version = (session.scalar(select(func.max(Model.version))) or 0) + 1
    model = Model(
        id=model_id,
        version=version,
        job_id=job_id,
        dataset=card["dataset"],
        test_accuracy=card["metrics"]["test_accuracy"],
        key=key,
        card=card,
        created_at=now,
    )
    session.add(model)
    session.flush()
    for name, target in ((LATEST, model), (BEST, _best(session, model.dataset)), (SERVING, model)):
        session.merge(Alias(name=name, model_id=target.id, updated_at=now))
    return model


def find(session: Session, name: str) -> Model:
    """The model with that id or alias; NotFound if there is none."""
    model = session.get(Model, name) or session.scalar(
        select(Model).join(Alias, Alias.model_id == Model.id).where(Alias.name == name)
    )
    if model is None:
        raise NotFound(f"There is no model {name}.")
    return model


def page(session: Session, before_version: int | None, limit: int) -> tuple[list[Model], bool]:
    """Models, newest first, and whether more follow."""
    query = select(Model).order_by(Model.version.desc()).limit(limit + 1)
    if before_version is not None:
        query = query.where(Model.version < before_version)
    found = list(session.scalars(query))
    return found[:limit], len(found) > limit


def aliases(session: Session) -> dict[str, list[str]]:
    """Alias names by model id."""
    named: dict[str, list[str]] = {}
    for alias in session.scalars(select(Alias).order_by(Alias.name)):
        named.setdefault(alias.model_id, []).append(alias.name)
    return named


def _best(session: Session, dataset: str) -> Model:
    on_dataset = select(Model).where(Model.dataset == dataset)
    return session.scalars(on_dataset.order_by(Model.test_accuracy.desc(), Model.version.desc()).limit(1)).one()
