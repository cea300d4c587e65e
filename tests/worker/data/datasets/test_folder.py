"""worker.data.datasets.folder: forgiving about layout, strict about content."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from core.errors import DatasetInvalid
from core.settings import Settings
from tests.support.photofiles import pixels_of
from worker.data.datasets import load
from worker.data.datasets.folder import Sizes, Style
from worker.data.photo_files import PhotoForm, Photos
from worker.data.splits import split

Make = Callable[[str, int], None]


@pytest.fixture
def root(settings: Settings) -> Path:
    return settings.resolved_datasets_dir / "pets"


@pytest.fixture
def make(root: Path) -> Make:
    """Write pictures into a folder below the data set's.

    Each is of another grey.
    """

    def write(where: str, count: int) -> None:
        (root / where).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (40, 30), (number * 5,) * 3).save(root / where / f"{number:02d}.png")

    return write


def test_train_and_test_folders_are_taken_as_they_are(settings: Settings, make: Make) -> None:
    for where, count in (("train/cat", 3), ("train/dog", 2), ("val/cat", 1), ("val/dog", 2)):
        make(where, count)
    data = load("pets", settings)
    assert data.classes == ("cat", "dog")
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1]
    assert data.test_labels.tolist() == [0, 1, 1]
    assert data.train_images.shape == (5, 224, 224, 3)


def test_of_a_validation_and_a_test_folder_each_is_what_it_is_called(settings: Settings, make: Make) -> None:
    for where, count in (
        ("train/cat", 9),
        ("train/dog", 8),
        ("val/cat", 3),
        ("val/dog", 2),
        ("test/cat", 1),
        ("test/dog", 1),
    ):
        make(where, count)
    data = load("pets", settings)
    splits = split(data, None, 0.1, seed=0)
    assert torch.bincount(splits.train.labels).tolist() == [9, 8]
    assert splits.validation.labels.tolist() == [0, 0, 0, 1, 1]
    assert torch.equal(splits.validation.some(range(5)), torch.from_numpy(np.asarray(data.train_images)[17:]))
    assert splits.test.labels.tolist() == [0, 1]
    assert data.digest != replace(data, held_back=0).digest


def test_classes_alone_are_split_the_same_way_each_time(settings: Settings, make: Make) -> None:
    make("cat", 10)
    make("dog", 20)
    first, second = load("pets", settings), load("pets", settings)
    assert np.bincount(first.test_labels).tolist() == [2, 4]
    assert len(first.train_labels) == 24
    assert first.digest == second.digest


def test_what_a_persons_system_left_there_is_no_problem(settings: Settings, make: Make, root: Path) -> None:
    make("cat", 2)
    make("dog", 2)
    (root / ".DS_Store").write_bytes(b"x")
    (root / "cat" / "Thumbs.db").write_bytes(b"x")
    (root / "__MACOSX").mkdir()
    assert load("pets", settings).classes == ("cat", "dog")


def test_every_file_that_is_no_image_is_named(settings: Settings, make: Make, root: Path) -> None:
    make("cat", 2)
    make("dog", 2)
    (root / "cat" / "notes.txt").write_text("meow")
    (root / "dog" / "half.png").write_bytes((root / "dog" / "00.png").read_bytes()[:40])
    with pytest.raises(DatasetInvalid) as refusal:
        load("pets", settings)
    assert "notes.txt" in str(refusal.value)
    assert "half.png" in str(refusal.value)
    assert "00.png" not in str(refusal.value)


def test_an_empty_class_is_refused_by_name(settings: Settings, make: Make, root: Path) -> None:
    make("train/cat", 2)
    make("train/dog", 2)
    make("val/cat", 2)
    with pytest.raises(DatasetInvalid, match="val/dog holds no images"):
        load("pets", settings)


def test_one_class_is_not_enough(settings: Settings, make: Make) -> None:
    make("cat", 2)
    with pytest.raises(DatasetInvalid, match="1 class folders"):
        load("pets", settings)


def test_class_folders_of_digits_in_mnist_s_form_are_digits(settings: Settings, root: Path) -> None:
    digits = load("digits", settings)
    images, labels = np.asarray(digits.train_images)[:100], digits.train_labels[:100]
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        (root / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(root / str(label) / f"{number:03d}.png")
    data = load("pets", settings)
    assert (data.style, data.detail) == ("digit", 28)
    found = np.concatenate([np.asarray(data.train_images), np.asarray(data.test_images)])
    order = np.concatenate([data.train_labels, data.test_labels])
    known = {image.tobytes(): label for image, label in zip(images, labels.tolist(), strict=True)}
    assert [known[image.tobytes()] for image in found] == order.tolist()


def test_a_file_among_digits_that_is_no_image_is_named(settings: Settings, root: Path) -> None:
    digits = np.asarray(load("digits", settings).train_images)
    for number in range(200):
        (root / str(number % 10)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits[number, ..., 0]).save(root / str(number % 10) / f"{number:03d}.png")
    (root / "3" / "notes.txt").write_text("three")
    with pytest.raises(DatasetInvalid, match=r"notes\.txt"):
        load("pets", settings)


def test_photos_in_classes_0_to_9_stay_photos(settings: Settings, make: Make) -> None:
    for label in range(10):
        make(str(label), 3)
    assert load("pets", settings).style == "photo"


@pytest.fixture
def little_memory(settings: Settings) -> Settings:
    return settings.model_copy(update={"dataset_bytes": 30 * 224 * 224 * 3 - 1})


def test_what_does_not_fit_in_memory_stays_in_its_files(
    settings: Settings, little_memory: Settings, make: Make
) -> None:
    make("cat", 10)
    make("dog", 20)
    resident, streamed = load("pets", settings), load("pets", little_memory)
    assert isinstance(resident.train_images, np.ndarray)
    assert isinstance(streamed.train_images, Photos)
    assert streamed.train_images.shape == resident.train_images.shape
    assert streamed.test_labels.tolist() == resident.test_labels.tolist()
    for path, image in zip(streamed.train_images.paths, resident.train_images, strict=True):
        np.testing.assert_array_equal(pixels_of(path), image)


def test_it_is_the_same_data_set_wherever_it_lies(
    settings: Settings, little_memory: Settings, make: Make, root: Path
) -> None:
    make("cat", 10)
    make("dog", 20)
    first = load("pets", little_memory).digest
    assert first == load("pets", settings).digest
    Image.new("RGB", (40, 30), (1, 2, 3)).save(root / "dog" / "07.png")
    assert load("pets", little_memory).digest == load("pets", settings).digest != first


def test_it_is_the_same_data_set_in_whatever_form(settings: Settings, make: Make) -> None:
    """A folder's split is the same in every image form.

    So two test accuracies can be compared, whatever the image size.
    """
    make("cat", 3)
    make("dog", 3)
    first, small = load("pets", settings), load("pets", settings, lambda _sizes, _style: PhotoForm(64, "pad"))
    assert small.train_images.shape[1:] == (64, 64, 3)
    assert (first.image_fit, small.image_fit) == ("crop", "pad")
    assert (first.digest, first.test_digest) == (small.digest, small.test_digest)


def test_the_form_is_chosen_by_the_sizes_of_training_photos_as_they_stand(settings: Settings, root: Path) -> None:
    for part, size in (("train", (60, 20)), ("test", (20, 20))):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            exif = Image.Exif()
            exif[ExifTags.Base.Orientation] = 6  # on its side
            Image.new("RGB", size).save(root / part / name / "a.jpg", exif=exif)
    asked: list[object] = []

    def choose(sizes: Sizes, style: Style) -> PhotoForm:
        asked.append((sizes, style))
        return PhotoForm()

    load("pets", settings, choose)
    assert asked == [([(20, 60), (20, 60)], "photo")]


def test_what_stays_in_its_files_is_looked_at_before_the_training(
    little_memory: Settings, make: Make, root: Path
) -> None:
    make("cat", 10)
    make("dog", 20)
    (root / "cat" / "notes.txt").write_text("meow")
    (root / "dog" / "05.png").write_bytes((root / "dog" / "05.png").read_bytes()[:40])
    with pytest.raises(DatasetInvalid, match=r"notes\.txt.*05\.png"):
        load("pets", little_memory)


def test_of_many_problems_the_first_are_named_and_the_rest_counted(settings: Settings, root: Path, make: Make) -> None:
    make("cat", 2)
    make("dog", 2)
    for number in range(23):
        (root / "cat" / f"{number}.txt").write_text("meow")
    with pytest.raises(DatasetInvalid, match=r"19\.txt.*\(and 3 more\)"):
        load("pets", settings)


def test_the_real_ants_and_bees_are_read(settings: Settings, shared: Path) -> None:
    data = load("ants_bees", settings.model_copy(update={"datasets_dir": shared / "data"}))
    assert data.classes == ("ants", "bees")
    assert (len(data.train_labels), len(data.test_labels)) == (180, 110)
    assert np.asarray(data.train_images).std() > 40


def test_a_version_with_more_training_photos_is_tested_on_the_same_images(
    settings: Settings, make: Make, root: Path
) -> None:
    for part, each in (("train", 3), ("test", 2)):
        make(f"{part}/cat", each)
        make(f"{part}/dog", each)
    first = load("pets", settings)
    Image.new("RGB", (40, 30), (0, 200, 0)).save(root / "train" / "cat" / "new.png")
    (root / "test" / "dog" / "00.png").rename(root / "test" / "dog" / "renamed.png")
    more_training = load("pets", settings)
    Image.new("RGB", (40, 30), (0, 0, 200)).save(root / "test" / "cat" / "new.png")
    in_files, other_test = load("pets", settings.model_copy(update={"dataset_bytes": 1})), load("pets", settings)
    assert first.digest != more_training.digest
    assert first.test_digest == more_training.test_digest
    assert first.test_digest != other_test.test_digest
    assert isinstance(in_files.test_images, Photos)
    assert in_files.test_digest == other_test.test_digest
