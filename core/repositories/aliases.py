"""Aliases of the versions of a model's name, and the default name.

The service keeps `latest` and `best`; a publication or a person moves `serving`; people have others.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, and_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db.tables import Alias, Model, ModelName
from core.errors import Conflict, NotFound
from core.model_references import BEST, FOLLOWING, LATEST, SERVING


@dataclass(frozen=True)
class Target:
    """The model that an alias names, and since when."""

    model: Model
    since: float

    @property
    def move(self) -> tuple[str, float]:
        """Return a value that changes each time the alias is set.

        It changes even if the alias is set to the same model again.
        """
        return self.model.id, self.since


@dataclass(frozen=True)
class DefaultName:
    """The name that answers where none is given."""

    name: str
    pinned: bool


def by_model(session: Session, *model_ids: str) -> dict[str, list[str]]:
    """Return the aliases of each of these models, by its id."""
    named: dict[str, list[str]] = {}
    for alias in session.scalars(select(Alias).where(Alias.model_id.in_(model_ids)).order_by(Alias.name)):
        named.setdefault(alias.model_id, []).append(alias.name)
    return named


def targets(session: Session, name: str) -> dict[str, Target]:
    """Return the target of each alias of a name, by alias."""
    rows = session.execute(_targets().where(Alias.model_name == name).order_by(Alias.name))
    return {alias: Target(model, since) for alias, model, since in rows}


def target(session: Session, name: str, alias: str) -> Target | None:
    row = session.execute(_targets().where(Alias.model_name == name, Alias.name == alias)).one_or_none()
    return Target(row[1], row[2]) if row else None


def serving_moves(session: Session) -> dict[str, tuple[str, float]]:
    """Return the move of each name's `serving`, without the models' cards."""
    query = select(Alias.model_name, Alias.model_id, Alias.updated_at).where(Alias.name == SERVING)
    return {name: (model_id, since) for name, model_id, since in session.execute(query)}


def point(session: Session, alias: str, model: Model, now: float) -> Target:
    """Point an alias of the model's name at the model.

    Does not check whether the alias may be set: callers are publications as well as people.
    """
    session.merge(Alias(model_name=model.name, name=alias, model_id=model.id, updated_at=now))
    return Target(model, now)


def set_alias(session: Session, name: str, alias: str, version: int, now: float) -> Target:
    """Point a new or existing alias at a version.

    Conflict for `latest` and `best`, and if the version's files are deleted; NotFound without such a version.
    """
    _require_free(alias)
    numbered = select(Model).where(Model.name == name, Model.version == version, Model.deleted_at.is_(None))
    model = session.scalars(numbered.with_for_update()).one_or_none()
    if model is None:
        raise NotFound(f"There is no model {name}/{version}.")
    if model.files_deleted_at is not None:
        raise Conflict(f"The files of {name}/{version} were deleted; only its record is left.")
    return point(session, alias, model, now)


def delete_alias(session: Session, name: str, alias: str) -> None:
    """Delete an alias; Conflict for `latest` and `best`.

    Without `serving` no model answers for the name.
    """
    _require_free(alias)
    found = session.get(Alias, (name, alias))
    if found is None:
        raise NotFound(f"There is no alias {name}@{alias}.")
    session.delete(found)


def follow(session: Session, name: str, now: float) -> None:
    """Update `latest` and `best` after a publication or a deletion."""
    whole = select(Model).where(Model.name == name, Model.files_deleted_at.is_(None))
    newest = session.scalars(whole.order_by(Model.version.desc()).limit(1)).one_or_none()
    if newest is None:
        for alias in FOLLOWING:
            if found := session.get(Alias, (name, alias)):
                session.delete(found)
        return
    same_images = whole.where(_test_digest() == newest.card["test_digest"])
    best = session.scalars(same_images.order_by(Model.test_accuracy.desc(), Model.version.desc()).limit(1)).one()
    for alias, model in ((LATEST, newest), (BEST, best)):
        old = session.get(Alias, (name, alias))
        if old is None or old.model_id != model.id:
            point(session, alias, model, now)


# -- names


def next_version(session: Session, name: str) -> int:
    """Increment and return the name's version count.

    Other publications of the name wait for the end of this transaction.
    """
    try:
        with session.begin_nested():
            session.add(ModelName(name=name, versions=0, pinned=False))
    except IntegrityError:
        pass  # there is the name already
    counted = update(ModelName).where(ModelName.name == name).values(versions=ModelName.versions + 1)
    version: int = session.execute(counted.returning(ModelName.versions)).scalar_one()
    return version


def mark_published(session: Session, name: str, now: float) -> None:
    """Record that a publication changed what serves under the name."""
    session.execute(update(ModelName).where(ModelName.name == name).values(published_at=now))


def default_name(session: Session) -> DefaultName | None:
    """Return the pinned name, else the one published to last.

    Names without a serving model are left out; None if there is no other.
    """
    serves = and_(Alias.model_name == ModelName.name, Alias.name == SERVING)
    order = (ModelName.pinned.desc(), ModelName.published_at.desc().nulls_last(), ModelName.name)
    query = select(ModelName.name, ModelName.pinned).join(Alias, serves).order_by(*order)
    row = session.execute(query.limit(1)).first()
    return DefaultName(*row) if row else None


def pin_default(session: Session, name: str) -> None:
    """Make a name the default until it is unpinned.

    Later publications do not change it. NotFound if no model serves under the name.
    """
    if target(session, name, SERVING) is None:
        raise NotFound(f"No model serves under the name {name}.")
    unpin_default(session)
    session.execute(update(ModelName).where(ModelName.name == name).values(pinned=True))


def unpin_default(session: Session) -> None:
    """Let the default name follow publications."""
    session.execute(update(ModelName).where(ModelName.pinned).values(pinned=False))


def _targets() -> Select[str, Model, float]:
    return select(Alias.name, Model, Alias.updated_at).join(Model, Alias.model_id == Model.id)


def _test_digest() -> ColumnElement[str]:
    digest: ColumnElement[str] = Model.card["test_digest"].as_string()
    return digest


def _require_free(alias: str) -> None:
    if alias in FOLLOWING:
        raise Conflict(f"{alias} moves by itself, with each new model.")
