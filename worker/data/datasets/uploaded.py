"""Versions of uploaded data sets, whose files lie by content."""

from collections.abc import Sequence

from core.artifacts.dataset_files import StoredImage, path_of
from core.dataset_references import parse_dataset
from core.imaging.idx_format import FILES
from core.settings import Settings
from worker.data.datasets import folder, idx_folder
from worker.data.datasets.dataset import Dataset
from worker.data.datasets.folder import Choose, Labelled, LabelledFile, default_form


def load(reference: str, images: Sequence[StoredImage], settings: Settings, choose: Choose = default_form) -> Dataset:
    """Load `pets/2`, whose images these are, in that order."""
    name, _ = parse_dataset(reference)
    paths = [path_of(settings.dataset_files_dir, name, image.digest) for image in images]
    if not images[0].label:
        files = {image.file: path for image, path in zip(images, paths, strict=True)}
        return idx_folder.of_files(reference, [files[file] for file in FILES])
    classes = sorted({image.label for image in images if image.part == "train"})
    index = {label: number for number, label in enumerate(classes)}
    parts: dict[str, Labelled] = {"train": [], "val": [], "test": []}
    for image, path in zip(images, paths, strict=True):
        parts[image.part].append(LabelledFile(path, index[image.label], image.number, image.group))
    return folder.of_parts(reference, classes, parts["train"], parts["val"], parts["test"], settings, choose)
