"""Versions of uploaded data sets, and the images of each.

Files are placed first, then the rows are written; deletion goes the other way round. ``lock`` comes before any change,
so that changes of one data set wait for each other.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.artifacts.dataset_files import StoredImage
from core.dataset_references import parse_dataset
from core.db.tables import NEVER, DatasetImage, DatasetName, DatasetVersion
from core.errors import NotFound

ROWS_AT_A_TIME = 1_000  # in one statement
T = TypeVar("T")


# -- questions


def names(session: Session) -> list[str]:
    """List the data sets that have a version."""
    return list(session.scalars(select(DatasetVersion.dataset).distinct().order_by(DatasetVersion.dataset)))


def newest(session: Session, name: str) -> DatasetVersion | None:
    """Return a data set's newest version; None without one."""
    return session.scalars(_versions(name).limit(1)).one_or_none()


def newest_of_all(session: Session) -> list[DatasetVersion]:
    """Return the newest version of every data set, by name."""
    names, newest = DatasetVersion.dataset, func.max(DatasetVersion.version).label("newest")
    last = select(names.label("name"), newest).group_by(names).subquery()
    is_last = and_(names == last.c.name, DatasetVersion.version == last.c.newest)
    return list(session.scalars(select(DatasetVersion).join(last, is_last).order_by(names)))


def find(session: Session, reference: str) -> DatasetVersion:
    """Return the version that `pets` or `pets/2` names.

    `pets` is the newest version. NotFound if there is none.
    """
    name, version = parse_dataset(reference)
    found = newest(session, name) if version is None else session.get(DatasetVersion, (name, version))
    if found is None:
        raise NotFound(f"No data set {reference} was uploaded.")
    return found


def held(session: Session, reference: str) -> str:
    """Return `pets/2` for an uploaded data set; block its deletion.

    It is held until the transaction ends.

    Other data sets keep their name. NotFound if there is no such version.
    """
    name, version = parse_dataset(reference)
    if version is None and newest(session, name) is None:
        return reference
    number = find(session, reference).version
    same = _versions(name).where(DatasetVersion.version == number).with_for_update(read=True, key_share=True)
    if session.scalars(same).one_or_none() is None:  # deleted just now
        raise NotFound(f"No data set {reference} was uploaded.")
    return f"{name}/{number}"


def version_numbers(session: Session, name: str) -> list[int]:
    """List the numbers of a data set's versions, newest first."""
    numbers = select(DatasetVersion.version).where(DatasetVersion.dataset == name)
    return list(session.scalars(numbers.order_by(DatasetVersion.version.desc())))


def versions(session: Session, name: str, before: int, limit: int) -> tuple[list[DatasetVersion], bool]:
    """List versions below a number, newest first, and whether more follow."""
    found = list(session.scalars(_versions(name).where(DatasetVersion.version < before).limit(limit + 1)))
    return found[:limit], len(found) > limit


def images(session: Session, name: str, version: int) -> list[StoredImage]:
    """List a version's images by class, file and number.

    Training sees them in this order.
    """
    rows = session.execute(select(*_columns()).where(DatasetImage.dataset == name, _is_in(version)))
    return sorted((StoredImage(*row) for row in rows), key=lambda image: (image.label, image.file, image.number))


def page(
    session: Session,
    of: DatasetVersion,
    label: str | None,
    part: str | None,
    after: int,
    limit: int,
) -> tuple[list[StoredImage], bool]:
    """List images of a version by number, and whether more follow.

    ``after`` is the previous page's last number.
    """
    query = select(*_columns()).where(DatasetImage.dataset == of.dataset, _is_in(of.version))
    if label is not None:
        query = query.where(DatasetImage.label == label)
    if part is not None:
        query = query.where(DatasetImage.part == part)
    rows = session.execute(query.where(DatasetImage.number > after).order_by(DatasetImage.number).limit(limit + 1))
    found = [StoredImage(*row) for row in rows]
    return found[:limit], len(found) > limit


def digest_of(session: Session, name: str, number: int) -> str:
    """Return the digest of an image of any version.

    NotFound if there is none of that number.
    """
    query = select(DatasetImage.digest).where(DatasetImage.dataset == name, DatasetImage.number == number)
    digest = session.scalars(query.limit(1)).one_or_none()
    if digest is None:
        raise NotFound(f"{name} has no image {number}.")
    return digest


def existing(session: Session, name: str, numbers: Iterable[int]) -> set[int]:
    """Return those numbers whose image is in a version of the data set."""
    found: set[int] = set()
    for some in chunks([*numbers]):
        wanted = DatasetImage.dataset == name, DatasetImage.number.in_(some)
        found |= set(session.scalars(select(DatasetImage.number).where(*wanted)))
    return found


def next_version(session: Session, name: str) -> int:
    """Return the number that the next version will have."""
    named = session.get(DatasetName, name)
    return named.versions + 1 if named else 1


# -- changes


def lock(session: Session, name: str) -> None:
    """Lock a data set against changes until the transaction ends.

    Creates the data set's row if there is none.
    """
    try:
        with session.begin_nested():
            session.add(DatasetName(name=name, versions=0, images=0))
    except IntegrityError:
        pass  # there is the name already
    session.get_one(DatasetName, name, with_for_update=True, populate_existing=True)


def keep_numbers(old: Iterable[StoredImage], new: Iterable[StoredImage]) -> list[StoredImage]:
    """Return the new images; unchanged ones keep their numbers.

    An image is unchanged if the same bytes were in the same place before.
    """
    wanted = Counter(new)
    kept = []
    for image in old:
        unnumbered = replace(image, number=0)
        if wanted[unnumbered] > 0:
            wanted[unnumbered] -= 1
            kept.append(image)
    return kept + list(wanted.elements())


def add_version(
    session: Session,
    name: str,
    old: Sequence[StoredImage],
    new: Sequence[StoredImage],
    card: dict[str, Any],
    now: float,
) -> DatasetVersion:
    """Write the next version of a data set; call ``lock`` before.

    ``old``: the newest version's images; ``new``: the next one's.
    """
    named = session.get_one(DatasetName, name)
    version = named.versions + 1
    staying = set(old) & set(new)
    for some in chunks([image.number for image in old if image not in staying]):
        is_current = and_(DatasetImage.dataset == name, DatasetImage.number.in_(some), DatasetImage.until == NEVER)
        session.execute(update(DatasetImage).where(is_current).values(until=version))
    added = list(_numbered((image for image in new if image not in staying), named))
    for images in chunks(added):
        session.execute(insert(DatasetImage), [_row(name, version, image) for image in images])
    made = DatasetVersion(dataset=name, version=version, card=card, created_at=now)
    session.add(made)
    named.versions = version
    session.flush()
    return made


def _numbered(images: Iterable[StoredImage], named: DatasetName) -> Iterator[StoredImage]:
    numbers = count(named.images + 1)
    for image in images:
        if not image.number:
            named.images = number = next(numbers)
            image = replace(image, number=number)
        yield image


def _row(name: str, version: int, image: StoredImage) -> dict[str, Any]:
    return {
        "dataset": name,
        "number": image.number,
        "since": version,
        "until": NEVER,
        "part": image.part,
        "label": image.label,
        "file": image.file,
        "digest": image.digest,
        "group": image.group,
    }


def claim_versions(session: Session, reference: str) -> list[int]:
    """Return the versions that `pets/2` or `pets` means, to delete them.

    No new job can name them until the transaction ends. Call ``lock`` before. NotFound if there is none.
    """
    name, version = parse_dataset(reference)
    wanted = _versions(name) if version is None else _versions(name).where(DatasetVersion.version == version)
    found = session.scalars(wanted.with_for_update()).all()
    if not found:
        raise NotFound(f"No data set {reference} was uploaded.")
    return [row.version for row in found]


def delete_versions(session: Session, name: str, *numbers: int) -> None:
    """Delete versions and the images that only they had.

    Call ``lock`` before.

    After the commit their files can be deleted: ``unused`` lists them.
    """
    mine = DatasetVersion.dataset == name
    session.execute(delete(DatasetVersion).where(mine, DatasetVersion.version.in_(numbers)))
    is_seen = exists().where(
        mine,
        DatasetVersion.version >= DatasetImage.since,
        DatasetVersion.version < DatasetImage.until,
    )
    session.execute(delete(DatasetImage).where(DatasetImage.dataset == name, ~is_seen))
    last = newest(session, name)
    if last is not None:  # it may have lost what came after it
        gone = and_(DatasetImage.dataset == name, DatasetImage.until > last.version)
        session.execute(update(DatasetImage).where(gone).values(until=NEVER))


def unused(session: Session, name: str, digests: Iterable[str]) -> set[str]:
    """Return the digests that no version of the data set has."""
    left = set(digests)
    for some in chunks(list(left)):
        known = select(DatasetImage.digest).where(DatasetImage.dataset == name, DatasetImage.digest.in_(some))
        left -= set(session.scalars(known))
    return left


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Split into as many as one statement takes."""
    return (items[start : start + ROWS_AT_A_TIME] for start in range(0, len(items), ROWS_AT_A_TIME))


def _columns() -> tuple[Any, ...]:
    """Return those of a ``StoredImage``, in its order."""
    row = DatasetImage
    return row.part, row.label, row.file, row.digest, row.number, row.group


def _versions(name: str) -> Any:
    return select(DatasetVersion).where(DatasetVersion.dataset == name).order_by(DatasetVersion.version.desc())


def _is_in(version: int) -> ColumnElement[bool]:
    return and_(DatasetImage.since <= version, DatasetImage.until > version)
