"""Public sets of photos that come as an archive of class folders: unpacked once, then read as one's own folder is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core.images import PHOTO_SIDE
from core.settings import Settings
from worker.datasets import folder
from worker.datasets.archive import unpack
from worker.datasets.dataset import Dataset
from worker.datasets.sources import download, find


@dataclass(frozen=True)
class PhotoSet:
    """The functions take the module torchvision.datasets, which knows addresses, checksums and names."""

    archives: Mapping[str, str]  # file -> the folder in it that holds the images; any of them will do
    source: Callable[[Any], tuple[str, str]]  # address and md5 of the first
    class_names: Callable[[Any], Mapping[str, str]] = lambda _: {}  # for class folders whose names say little
    style: Literal["plain", "photo"] = "photo"
    detail: int = PHOTO_SIDE


def load(name: str, settings: Settings) -> Dataset:
    from torchvision import datasets  # imports torch

    photo_set = PHOTO_SETS[name]
    root = _root(name, photo_set, settings)
    data = folder.load(root.name, settings.model_copy(update={"datasets_dir": root.parent}))
    names = photo_set.class_names(datasets)
    return replace(
        data,
        name=name,
        style=photo_set.style,
        detail=photo_set.detail,
        classes=tuple(names.get(entry, entry) for entry in data.classes),
    )


def _root(name: str, photo_set: PhotoSet, settings: Settings) -> Path:
    """Where the class folders are: the person's own, or those of an archive, unpacked now if not before."""
    home = settings.resolved_datasets_dir / name
    unpacked = next((home / top for top in photo_set.archives.values() if (home / top).is_dir()), None)
    if unpacked or _has_folders(home):
        return unpacked or home
    archive = find(home, photo_set.archives) or _download(name, photo_set, settings)
    top = photo_set.archives[archive.name]
    unpack(archive, top, home / top)
    return home / top


def _has_folders(home: Path) -> bool:
    return home.is_dir() and any(entry.is_dir() for entry in home.iterdir() if not entry.name.startswith((".", "_")))


def _download(name: str, photo_set: PhotoSet, settings: Settings) -> Path:
    from torchvision import datasets  # imports torch

    url, md5 = photo_set.source(datasets)
    wanted = f"{' or '.join(photo_set.archives)}, or the folders in it,"
    return download(name, [url], md5, wanted, settings)


def _eurosat(datasets: Any) -> tuple[str, str]:
    """torchvision has them inside the function that downloads, and nowhere else."""
    words = [word for word in datasets.EuroSAT.download.__code__.co_consts if isinstance(word, str)]
    (url,) = (word for word in words if word.endswith("/EuroSAT.zip"))
    (md5,) = (word for word in words if len(word) == 32)
    return url, md5


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
}
