"""Publish, find and delete models, and move their aliases.

Files are written first, then the row, then the alias; deletion goes the other way round.
"""

from typing import Any

from pydantic import ValidationError
from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from core.db.tables import Model
from core.errors import Conflict, InvalidInput, NotFound, NotReady
from core.ids import is_model_id
from core.model_references import FOLLOWING, FORMS, SERVING, parse
from core.recipes.recipe import Recipe
from core.repositories import aliases


def publish(session: Session, model_id: str, job_id: str, key: str, card: dict[str, Any], now: float) -> Model:
    """Write a stored model's row and move its name's aliases.

    ``serving`` moves according to the recipe's ``publish``; the card's ``publication`` records the outcome. Call it in
    the transaction that ends the job, so that both become visible together.
    """
    name = card["name"]
    version = aliases.next_version(session, name)  # other publications of the name wait from here on
    serves, reason = _takes_over(session, card)
    model = Model(
        id=model_id,
        name=name,
        version=version,
        job_id=job_id,
        dataset=card["dataset"],
        test_accuracy=card["metrics"]["test_accuracy"],
        key=key,
        card=card | {"publication": {"serving": serves, "reason": reason}},
        created_at=now,
    )
    session.add(model)
    session.flush()
    aliases.follow(session, name, now)
    if serves:
        aliases.point(session, SERVING, model, now)
        aliases.mark_published(session, name, now)
    return model


def find(session: Session, reference: str) -> Model:
    """Return the model that a reference names; NotFound without one.

    References: an id, `pets`, `pets/3` and `pets@best`.
    """
    model = session.get(Model, reference) if is_model_id(reference) else _referred(session, reference)
    if model is None or model.deleted_at is not None:
        raise NotFound(f"There is no model {reference}; {FORMS}.")
    return model


def _referred(session: Session, text: str) -> Model | None:
    reference = parse(text)
    if reference.version is not None:
        numbered = select(Model).where(Model.name == reference.name, Model.version == reference.version)
        return session.scalars(numbered).one_or_none()
    named = aliases.target(session, reference.name, reference.alias)
    return named.model if named else None


def find_whole(session: Session, reference: str | None) -> Model:
    """Return the model that a reference names, with its files.

    Without a reference it is what serves under the default name.

    Conflict if its files were deleted, NotReady if nothing serves.
    """
    if reference is None:
        default = aliases.default_name(session)
        if default is None:
            raise NotReady
        reference = default.name
    return _whole(find(session, reference))


def rerun_of(session: Session, requested: Recipe) -> Recipe:
    """Return the recipe to rerun a model, with the given fields.

    ``requested.rerun`` names the model. All other given fields replace those of its recipe. InvalidInput if there is no
    such model, or if the given fields do not fit its recipe.
    """
    assert requested.rerun is not None
    try:
        model = find(session, requested.rerun)
    except NotFound as error:
        raise InvalidInput(str(error), pointer="/rerun") from error
    resolved = model.card["recipe"].items()  # null: the default, or nothing to decide, as a digit's image_fit
    before = {name: value for name, value in resolved if name in Recipe.model_fields and value is not None}
    given = requested.model_dump(exclude_unset=True)
    try:
        return Recipe.model_validate(before | {"model": model.name} | given | {"rerun": model.id})
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        place, reason = "/".join(map(str, wrong["loc"])), wrong["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"{place} {reason}, with the recipe of {model.id}.", f"/{place}") from error


def versions(session: Session, name: str) -> list[int]:
    """List the versions of a name that still have files, oldest first."""
    whole = select(Model.version).where(Model.name == name, Model.files_deleted_at.is_(None))
    return list(session.scalars(whole.order_by(Model.version)))


def trained_on(session: Session, dataset: str) -> list[str]:
    """List the models with files that were trained on a data set.

    They are named as `pets/3`. ``dataset`` may be a version; without one, all versions count.
    """
    named = or_(Model.dataset == dataset, Model.dataset.startswith(f"{dataset}/", autoescape=True))
    whole = select(Model.name, Model.version).where(named, Model.files_deleted_at.is_(None))
    return [f"{name}/{version}" for name, version in session.execute(whole.order_by(Model.name, Model.version))]


def page(session: Session, name: str | None, after: str | None, limit: int) -> tuple[list[Model], bool]:
    """List a page of models, newest first, and whether more follow.

    ``name``: all names if None.

    ``after`` is the id of the previous page's last model.
    """
    query = select(Model).where(Model.deleted_at.is_(None)).order_by(Model.created_at.desc(), Model.id.desc())
    if name is not None:
        query = query.where(Model.name == name)
    if after is not None:
        last = session.get(Model, after)
        if last is None:
            raise NotFound(f"There is no model {after}, after which to go on.")
        same_time = and_(Model.created_at == last.created_at, Model.id < last.id)
        query = query.where(or_(Model.created_at < last.created_at, same_time))
    found = list(session.scalars(query.limit(limit + 1)))
    return found[:limit], len(found) > limit


# -- serving


def mark_served(session: Session, model_id: str, now: float) -> None:
    """Record that the model passed its self-test and serves from now on."""
    session.execute(update(Model).where(Model.id == model_id).values(served_at=now))


def served_before(session: Session, refused: Model, limit: int) -> list[Model]:
    """List models of the same name that served, last served first.

    Only models that still have files, without ``refused``.
    """
    whole = select(Model).where(Model.name == refused.name, Model.id != refused.id, Model.files_deleted_at.is_(None))
    served = whole.where(Model.served_at.is_not(None)).order_by(Model.served_at.desc())
    return list(session.scalars(served.limit(limit)))


def _takes_over(session: Session, card: dict[str, Any]) -> tuple[bool, str]:
    """Decide whether ``serving`` moves to a new version, and give the reason.

    A version with other classes answers other questions, so a person decides. ``if_better`` compares results on the
    same test images: accuracies or, where the new one was trained with balanced classes, mean recalls of the classes.
    """
    name, policy = card["name"], card["recipe"]["publish"]
    by_hand = f"PUT /models/{name}/aliases/serving"
    if policy == "manual":
        return False, f"publish is manual: {by_hand}"
    serving = aliases.target(session, name, SERVING)
    if serving is None:
        return True, f"nothing was serving under the name {name}"
    now = serving.model
    if now.card["classes"] != card["classes"]:
        return False, f"its classes differ from those of {name}/{now.version}, which serves: {by_hand} to change them"
    if policy == "always":
        return True, "publish is always"
    if now.card["test_digest"] != card["test_digest"]:
        return False, f"{name}/{now.version}, which is serving, was tested on other images"
    balanced = card["recipe"]["class_weights"] == "balanced"
    what, result_of = ("mean recall", _mean_recall) if balanced else ("accuracy", _accuracy)
    result, current = result_of(card), result_of(now.card)
    return result > current, f"test {what} {result:.4f}, and {current:.4f} of {name}/{now.version}, which was serving"


def _accuracy(card: dict[str, Any]) -> float:
    return float(card["metrics"]["test_accuracy"])


def _mean_recall(card: dict[str, Any]) -> float:
    recalls = [row["recall"] for row in card["per_class"] if row["images"]]
    return float(sum(recalls) / len(recalls))


# -- deletion: files first, so that no crash leaves files without a row


def delete_files(session: Session, reference: str, now: float) -> Model:
    """Record that a model's files are deleted.

    Conflict while an alias that a person moves points at it.

    Commit before deleting the files.
    """
    model = _unnamed(session, reference)
    model.files_deleted_at = model.files_deleted_at or now
    session.flush()
    aliases.follow(session, model.name, now)
    return model


def delete(session: Session, model_id: str, now: float) -> None:
    """Hide a model whose files are deleted.

    Its row stays, since its job refers to it.
    """
    model = _unnamed(session, model_id)
    assert model.files_deleted_at is not None
    model.deleted_at = now


def _unnamed(session: Session, reference: str) -> Model:
    model = _locked(session, reference)
    named = [alias for alias in aliases.by_model(session, model.id).get(model.id, []) if alias not in FOLLOWING]
    if named:
        path = f"/models/{model.name}/aliases/{named[0]}"
        raise Conflict(
            f"{model.name}/{model.version} is still {', '.join(named)}: PUT {path} another version, or DELETE it."
        )
    return model


def _locked(session: Session, reference: str) -> Model:
    """Lock and return a model's row.

    So a deletion and a change of an alias see each other's changes.
    """
    model = find(session, reference)
    session.refresh(model, with_for_update=True)
    return find(session, model.id)


def _whole(model: Model) -> Model:
    if model.files_deleted_at is not None:
        raise Conflict(f"The files of {model.id} were deleted; only its record is left.")
    return model
