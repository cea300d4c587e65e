"""Models and their movable names. Bytes first, then the row, then the alias; the other way round when they go."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.db.tables import Alias, Model
from core.errors import Conflict, NotFound

LATEST = "latest"  # the newest model
BEST = "best"  # the highest test accuracy on the data set of the newest model
SERVING = "serving"  # what /predict answers with when no model is named
FOLLOWING = (LATEST, BEST)  # move with each publication, and never by hand


@dataclass(frozen=True)
class Target:
    """What an alias names, and since when."""

    model: Model
    since: float

    @property
    def move(self) -> tuple[str, float]:
        """Another one for each time that the alias was moved, be it to the same model."""
        return self.model.id, self.since


def publish(session: Session, model_id: str, job_id: str, key: str, card: dict[str, Any], now: float) -> Model:
    """Write the row of a model whose files are stored already, and move the aliases to it.

    ``serving`` moves as the recipe's ``publish`` says; the card's ``publication`` tells how that came out. To be called
    in the transaction that ends the job: whoever sees one sees the other.
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
    targets = {LATEST: model, BEST: _best(session, model.dataset)} | ({SERVING: model} if serves else {})
    for name, aimed_at in targets.items():
        session.merge(Alias(name=name, model_id=aimed_at.id, updated_at=now))
    return model


def find(session: Session, name: str) -> Model:
    """The model with that id or alias; NotFound if there is none."""
    model = session.get(Model, name)
    if model is None and (named := target(session, name)):
        model = named.model
    if model is None or model.deleted_at is not None:
        raise NotFound(f"There is no model {name}.")
    return model


def find_whole(session: Session, name: str) -> Model:
    """The same, with its files; Conflict when these were deleted."""
    return _whole(find(session, name))


def page(session: Session, before_version: int | None, limit: int) -> tuple[list[Model], bool]:
    """Models, newest first, and whether more follow."""
    query = select(Model).where(Model.deleted_at.is_(None)).order_by(Model.version.desc()).limit(limit + 1)
    if before_version is not None:
        query = query.where(Model.version < before_version)
    found = list(session.scalars(query))
    return found[:limit], len(found) > limit


# -- aliases


def aliases(session: Session) -> dict[str, list[str]]:
    """Alias names by model id."""
    named: dict[str, list[str]] = {}
    for alias in session.scalars(select(Alias).order_by(Alias.name)):
        named.setdefault(alias.model_id, []).append(alias.name)
    return named


def targets(session: Session) -> dict[str, Target]:
    """What each alias names, by alias."""
    rows = session.execute(select(Alias, Model).join(Model, Alias.model_id == Model.id).order_by(Alias.name))
    return {alias.name: Target(model, alias.updated_at) for alias, model in rows}


def target(session: Session, alias: str) -> Target | None:
    query = select(Model, Alias.updated_at).join(Alias, Alias.model_id == Model.id).where(Alias.name == alias)
    row = session.execute(query).one_or_none()
    return Target(*row) if row else None


def set_alias(session: Session, alias: str, name: str, now: float) -> Target:
    """Point an alias, new or not, at the model with that id or alias. Conflict for one that moves by itself."""
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
    """Remember that the model passed its test and answers from now on."""
    session.execute(update(Model).where(Model.id == model_id).values(served_at=now))


def served_before(session: Session, refused: str, limit: int) -> list[Model]:
    """Models that have served and still could, the last one first, without the refused one."""
    served = select(Model).where(Model.served_at.is_not(None), Model.files_deleted_at.is_(None), Model.id != refused)
    return list(session.scalars(served.order_by(Model.served_at.desc()).limit(limit)))


def _takes_over(session: Session, card: dict[str, Any]) -> tuple[bool, str]:
    """Whether ``serving`` moves to a new model, and why.

    ``if_better`` compares test accuracies, which only the same test images allow. A model that was tested on others is
    not known to be better, so that the one in service stays.
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
    if (now.dataset, now.card["dataset_digest"]) != (card["dataset"], card["dataset_digest"]):
        return False, f"{now.id}, which is serving, was tested on other images"
    accuracy = card["metrics"]["test_accuracy"]
    words = f"test accuracy {accuracy:.4f}, and {now.test_accuracy:.4f} of {now.id}, which was serving"
    return accuracy > now.test_accuracy, words


def _best(session: Session, dataset: str) -> Model:
    whole = select(Model).where(Model.dataset == dataset, Model.files_deleted_at.is_(None))
    return session.scalars(whole.order_by(Model.test_accuracy.desc(), Model.version.desc()).limit(1)).one()


# -- deletion: the files first, so that no crash leaves bytes of which no row tells


def delete_files(session: Session, name: str, now: float) -> Model:
    """Say that a model's files are gone; to be committed before they go. Conflict while an alias points at it."""
    model = _unnamed(session, name)
    model.files_deleted_at = model.files_deleted_at or now
    return model


def delete(session: Session, name: str, now: float) -> None:
    """Hide a model whose files are gone. Its row stays, since the job that made it points there."""
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
    """Of one who deletes a model and one who points an alias at it, the second sees what the first did."""
    model = find(session, name)
    session.refresh(model, with_for_update=True)
    return find(session, model.id)


def _whole(model: Model) -> Model:
    if model.files_deleted_at is not None:
        raise Conflict(f"The files of {model.id} were deleted; only its record is left.")
    return model
