"""Publish, find and delete models, and move their aliases.

Files are written first, then the row, then the alias; deletion goes the other way round.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.db.tables import Alias, Model
from core.errors import Conflict, NotFound

LATEST = "latest"  # the newest model
BEST = "best"  # the highest test accuracy of those tested on the same images as the newest model, by test_digest
SERVING = "serving"  # the default model of /predict
FOLLOWING = (LATEST, BEST)  # move with each publication, never by hand


@dataclass(frozen=True)
class Target:
    """The model that an alias names, and since when."""

    model: Model
    since: float

    @property
    def move(self) -> tuple[str, float]:
        """Identify the move: the value changes each time the alias is set, even to the same model."""
        return self.model.id, self.since


def publish(session: Session, model_id: str, job_id: str, key: str, card: dict[str, Any], now: float) -> Model:
    """Write the row of a model whose files are stored, and move the aliases to it.

    ``serving`` moves according to the recipe's ``publish``; the card's ``publication`` records the outcome. Call it in
    the transaction that ends the job, so that both become visible together.
    """
    serves, reason = _takes_over(session, card)
    model = Model(
        id=model_id,
        version=(session.scalar(select(func.max(Model.version))) or 0) + 1,
        job_id=job_id,
        dataset=card["dataset"],
        test_accuracy=card["metrics"]["test_accuracy"],
        key=key,
        card=card | {"publication": {"serving": serves, "reason": reason}},
        created_at=now,
    )
    session.add(model)
    session.flush()
    targets = {LATEST: model, BEST: _best(session, model)} | ({SERVING: model} if serves else {})
    for name, aimed_at in targets.items():
        session.merge(Alias(name=name, model_id=aimed_at.id, updated_at=now))
    return model


def find(session: Session, name: str) -> Model:
    """Return the model with that id or alias; NotFound if there is none."""
    model = session.get(Model, name)
    if model is None and (named := target(session, name)):
        model = named.model
    if model is None or model.deleted_at is not None:
        raise NotFound(f"There is no model {name}.")
    return model


def find_whole(session: Session, name: str) -> Model:
    """Return the model with that id or alias; Conflict if its files were deleted."""
    return _whole(find(session, name))


def page(session: Session, before_version: int | None, limit: int) -> tuple[list[Model], bool]:
    """List models, newest first, and whether more follow."""
    query = select(Model).where(Model.deleted_at.is_(None)).order_by(Model.version.desc()).limit(limit + 1)
    if before_version is not None:
        query = query.where(Model.version < before_version)
    found = list(session.scalars(query))
    return found[:limit], len(found) > limit


# -- aliases


def aliases(session: Session) -> dict[str, list[str]]:
    """Return alias names by model id."""
    named: dict[str, list[str]] = {}
    for alias in session.scalars(select(Alias).order_by(Alias.name)):
        named.setdefault(alias.model_id, []).append(alias.name)
    return named


def targets(session: Session) -> dict[str, Target]:
    """Return the target of each alias, by alias."""
    rows = session.execute(select(Alias, Model).join(Model, Alias.model_id == Model.id).order_by(Alias.name))
    return {alias.name: Target(model, alias.updated_at) for alias, model in rows}


def target(session: Session, alias: str) -> Target | None:
    query = select(Model, Alias.updated_at).join(Alias, Alias.model_id == Model.id).where(Alias.name == alias)
    row = session.execute(query).one_or_none()
    return Target(*row) if row else None


def set_alias(session: Session, alias: str, name: str, now: float) -> Target:
    """Point a new or existing alias at a model; Conflict for ``latest`` and ``best``."""
    _is_free_to_move(alias)
    model = _whole(_locked(session, name))
    session.merge(Alias(name=alias, model_id=model.id, updated_at=now))
    return Target(model, now)


def delete_alias(session: Session, alias: str) -> None:
    _is_free_to_move(alias)
    if alias == SERVING:
        raise Conflict("serving always names a model: point it at another one instead.")
    found = session.get(Alias, alias)
    if found is None:
        raise NotFound(f"There is no alias {alias}.")
    session.delete(found)


def _is_free_to_move(alias: str) -> None:
    if alias in FOLLOWING:
        raise Conflict(f"{alias} moves by itself, with each new model.")


# -- serving


def mark_served(session: Session, model_id: str, now: float) -> None:
    """Record that the model passed its self-test and serves from now on."""
    session.execute(update(Model).where(Model.id == model_id).values(served_at=now))


def served_before(session: Session, refused: str, limit: int) -> list[Model]:
    """List models that have served and still have files, last served first, without ``refused``."""
    served = select(Model).where(Model.served_at.is_not(None), Model.files_deleted_at.is_(None), Model.id != refused)
    return list(session.scalars(served.order_by(Model.served_at.desc()).limit(limit)))


def _takes_over(session: Session, card: dict[str, Any]) -> tuple[bool, str]:
    """Decide whether ``serving`` moves to a new model, and give the reason.

    ``if_better`` compares results on the same test images, otherwise the serving model stays: accuracies or, where the
    new model was trained with balanced classes, mean recalls of the classes.
    """
    policy = card["recipe"]["publish"]
    if policy == "always":
        return True, "publish is always"
    if policy == "manual":
        return False, "publish is manual: PUT /models/aliases/serving"
    serving = target(session, SERVING)
    if serving is None:
        return True, "nothing was serving"
    now = serving.model
    if now.card["test_digest"] != card["test_digest"]:
        return False, f"{now.id}, which is serving, was tested on other images"
    balanced = card["recipe"]["class_weights"] == "balanced"
    what, result_of = ("mean recall", _mean_recall) if balanced else ("accuracy", _accuracy)
    result, current = result_of(card), result_of(now.card)
    return result > current, f"test {what} {result:.4f}, and {current:.4f} of {now.id}, which was serving"


def _accuracy(card: dict[str, Any]) -> float:
    return float(card["metrics"]["test_accuracy"])


def _mean_recall(card: dict[str, Any]) -> float:
    recalls = [row["recall"] for row in card["per_class"] if row["images"]]
    return float(sum(recalls) / len(recalls))


def _best(session: Session, newest: Model) -> Model:
    """Find the most accurate of the models tested on the same images as the newest one, whatever their data's name."""
    whole = select(Model).where(Model.files_deleted_at.is_(None))
    same = whole.where(Model.card["test_digest"].as_string() == newest.card["test_digest"])
    return session.scalars(same.order_by(Model.test_accuracy.desc(), Model.version.desc()).limit(1)).one()


# -- deletion: files first, so that no crash leaves files without a row


def delete_files(session: Session, name: str, now: float) -> Model:
    """Record that a model's files are deleted; Conflict while an alias points at it.

    Commit before deleting the files.
    """
    model = _unnamed(session, name)
    model.files_deleted_at = model.files_deleted_at or now
    return model


def delete(session: Session, name: str, now: float) -> None:
    """Hide a model whose files are deleted; its row stays, since its job refers to it."""
    model = _unnamed(session, name)
    assert model.files_deleted_at is not None
    model.deleted_at = now


def _unnamed(session: Session, name: str) -> Model:
    model = _locked(session, name)
    if names := aliases(session).get(model.id):
        hint = "latest and best move when a newer or better model is published, others by PUT /models/aliases/{alias}"
        raise Conflict(f"{model.id} is still {', '.join(names)}: {hint}.")
    return model


def _locked(session: Session, name: str) -> Model:
    """Lock a model's row, so that deleting it and setting an alias see each other's changes."""
    model = find(session, name)
    session.refresh(model, with_for_update=True)
    return find(session, model.id)


def _whole(model: Model) -> Model:
    if model.files_deleted_at is not None:
        raise Conflict(f"The files of {model.id} were deleted; only its record is left.")
    return model
