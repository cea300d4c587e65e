"""Public photo data sets that come as an archive of class folders.

An archive is unpacked once, then read like a user's folder, or by its lists of training and test photos.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import DatasetInvalid
from core.settings import Settings
from worker.data.datasets import folder
from worker.data.datasets.dataset import Dataset
from worker.data.formats.archives import unpack
from worker.data.sources import download, find

Names = Sequence[str]


@dataclass(frozen=True)
class PhotoSet:
    """The archive of a photo data set and how to read it.

    The functions take the module torchvision.datasets, which holds addresses, checksums and names.
    """

    archives: Mapping[str, str]  # file -> the folder in it that holds the images; alternatives
    source: Callable[[Any], tuple[str, str]]  # URL and md5 of the first
    class_names: Callable[[Any], Mapping[str, str]] = lambda _: {}  # readable names for class folders
    style: folder.Style = "photo"
    detail: int | None = None  # if it is less than the photos' size
    lists: Callable[[Path], tuple[Names, Names]] | None = None  # for training and for the test: <class>/<file>
    images: str = "images"  # where the lists' class folders are


def load(name: str, settings: Settings, choose: folder.Choose = folder.default_form) -> Dataset:
    from torchvision import datasets  # imports torch

    photo_set = PHOTO_SETS[name]
    root = _root(name, photo_set, settings)
    data = _read(root, photo_set, settings, choose)
    names = photo_set.class_names(datasets)
    return replace(
        data,
        name=name,
        detail=photo_set.detail or data.detail,
        classes=tuple(names.get(entry, entry) for entry in data.classes),
    )


def _read(root: Path, photo_set: PhotoSet, settings: Settings, choose: folder.Choose) -> Dataset:
    if photo_set.lists is None or not (root / photo_set.images).is_dir():  # a user's own folders have no lists
        return folder.load(
            root.name, settings.model_copy(update={"datasets_dir": root.parent}), choose, photo_set.style
        )
    try:
        parts = photo_set.lists(root)
    except (OSError, ValueError) as error:
        raise DatasetInvalid(f"{root}: its lists cannot be read: {error}.") from error
    classes = sorted({_class_of(name) for part in parts for name in part})
    train, test = (
        [folder.LabelledFile(root / photo_set.images / name, classes.index(_class_of(name))) for name in part]
        for part in parts
    )
    return folder.of_files(root.name, classes, train, test, settings, choose, style=photo_set.style)


def _class_of(name: str) -> str:
    return name.split("/")[0]


def _root(name: str, photo_set: PhotoSet, settings: Settings) -> Path:
    """Return the directory of the class folders.

    It is the user's own or that of the unpacked archive, which is downloaded first if need be.
    """
    home, own = settings.resolved_datasets_dir / name, settings.downloaded_datasets_dir / name
    tops = [folder / top for folder in (home, own) for top in photo_set.archives.values()]
    unpacked = next((top for top in tops if top.is_dir()), None)
    if unpacked or _has_folders(home):
        return unpacked or home
    archive = find(home, photo_set.archives) or _download(name, photo_set, settings)
    top = photo_set.archives[archive.name]
    own.mkdir(parents=True, exist_ok=True)
    unpack(archive, top, own / top)
    return own / top


def _has_folders(home: Path) -> bool:
    return home.is_dir() and any(entry.is_dir() for entry in home.iterdir() if not entry.name.startswith((".", "_")))


def _download(name: str, photo_set: PhotoSet, settings: Settings) -> Path:
    from torchvision import datasets  # imports torch

    url, md5 = photo_set.source(datasets)
    wanted = f"{' or '.join(photo_set.archives)}, or the folders in it,"
    return download(name, [url], md5, wanted, settings)


def _eurosat(datasets: Any) -> tuple[str, str]:
    """Extract URL and md5 from torchvision's download function, which alone holds them."""
    words = [word for word in datasets.EuroSAT.download.__code__.co_consts if isinstance(word, str)]
    (url,) = (word for word in words if word.endswith("/EuroSAT.zip"))
    (md5,) = (word for word in words if len(word) == 32)
    return url, md5


def _food101(root: Path) -> tuple[Names, Names]:
    train, test = (json.loads((root / "meta" / f"{part}.json").read_text()) for part in ("train", "test"))
    return _pictures(train), _pictures(test)


def _pictures(of_classes: Mapping[str, Names]) -> Names:
    return [f"{name}.jpg" for names in of_classes.values() for name in names]


def _dtd(root: Path) -> tuple[Names, Names]:
    """Read the first of DTD's ten partitions, as torchvision does.

    Validation photos count as training photos.
    """
    train, val, test = ((root / "labels" / f"{part}1.txt").read_text().split() for part in ("train", "val", "test"))
    return train + val, test


PHOTO_SETS: Mapping[str, PhotoSet] = {
    "imagenette": PhotoSet(
        {f"{top}.tgz": top for top in ("imagenette2-320", "imagenette2-160", "imagenette2")},
        lambda datasets: datasets.Imagenette._ARCHIVES["320px"],
        lambda datasets: {wnid: names[0] for wnid, names in datasets.Imagenette._WNID_TO_CLASS.items()},
    ),
    "eurosat": PhotoSet({"EuroSAT.zip": "2750"}, _eurosat, detail=64),
    "country211": PhotoSet(
        {"country211.tgz": "country211"}, lambda datasets: (datasets.Country211._URL, datasets.Country211._MD5)
    ),
    "rendered_sst2": PhotoSet(
        {"rendered-sst2.tgz": "rendered-sst2"},
        lambda datasets: (datasets.RenderedSST2._URL, datasets.RenderedSST2._MD5),
        style="plain",  # sentences: nothing may be cut off or mirrored
    ),
    "food101": PhotoSet(
        {"food-101.tar.gz": "food-101"},
        lambda datasets: (datasets.Food101._URL, datasets.Food101._MD5),
        lists=_food101,
    ),
    "dtd": PhotoSet({"dtd-r1.0.1.tar.gz": "dtd"}, lambda datasets: (datasets.DTD._URL, datasets.DTD._MD5), lists=_dtd),
}
