"""The training images nearest to an image: what its answer resembles."""

from collections.abc import Sequence

from core.artifacts.store import ArtifactStore
from core.dataset_references import parse_dataset
from core.db.database import Database
from core.errors import NotFound
from core.inference.onnx_predictor import Predictor
from core.inference.prediction import Neighbour
from core.inference.training_images import Features, Near, find_nearest
from core.repositories import datasets

THUMBNAIL = "/datasets/{name}/images/{number}/thumbnail.png"


def neighbours(
    db: Database, store: ArtifactStore, predictor: Predictor, features: Features, count: int, may_read: bool
) -> list[list[Neighbour]]:
    """Return the nearest training images of each image, the nearest first.

    ``may_read``: the caller may see images of data sets; else they have neither number nor thumbnail. Nor do images
    that are in no version of their data set any more.
    """
    model = predictor.model
    try:
        found = find_nearest(store, model, features, count)
    except FileNotFoundError as error:
        raise NotFound(f"The files of {model.id} were deleted.") from error
    name, _ = parse_dataset(model.card["dataset"])
    shown = _shown(db, name, found) if may_read else set()
    return [[_view(one, name, predictor.classes, shown) for one in nearest] for nearest in found]


def _shown(db: Database, name: str, found: Sequence[Sequence[Near]]) -> set[int]:
    """Return the numbers of those images that can still be shown."""
    numbers = {one.number for nearest in found for one in nearest if one.number}
    if not numbers:
        return set()
    with db.read() as session:
        return datasets.existing(session, name, numbers)


def _view(one: Near, name: str, classes: Sequence[str], shown: set[int]) -> Neighbour:
    number = one.number if one.number in shown else None
    return Neighbour(
        image=number,
        label=classes[one.class_index],
        distance=round(one.distance, 4),
        thumbnail=None if number is None else THUMBNAIL.format(name=name, number=number),
    )
