"""Folders, tables and columns assign images to parts.

Whatever they say is heard, and what is not understood is reported.
"""

from collections.abc import Mapping

import pytest

from core.errors import UnusableDataset
from service.datasets.layouts.parts import part_of_cell, split_name
from tests.service.datasets.conftest import Send, problems, refused
from tests.support.setfiles import pets, photo

IMAGES = {f"{number}.png": photo(number) for number in range(12)}
Counts = dict[str, dict[str, int]]
HALVES: Counts = {label: {"train": 4, "test": 2} for label in "ab"}


def table(numbers: range, more: Mapping[int, str] | None = None, header: str = "filename,label") -> bytes:
    """Make a table of the classes a and b by image number.

    ``more``: a cell behind them.
    """
    cells = (f",{more[number]}" if more else "" for number in numbers)
    lines = (f"{number}.png,{'ab'[number % 2]}{cell}\n" for number, cell in zip(numbers, cells, strict=True))
    return f"{header}\n{''.join(lines)}".encode()


TRAIN, TEST = range(8), range(8, 12)
NAMED = {
    "train_labels.csv, test_labels.csv": {"train_labels.csv": table(TRAIN), "test_labels.csv": table(TEST)},
    "labels in folders": {"train/labels.csv": table(TRAIN), "test/labels.csv": table(TEST)},
    "labels, testLabels": {"labels.csv": table(TRAIN), "testLabels.csv": table(TEST)},
    "development and holdout": {"training.csv": table(TRAIN), "hold/holdout.csv": table(TEST)},
}


@pytest.mark.parametrize("name", NAMED)
def test_the_names_of_tables_and_of_their_folders_tell_the_parts(send: Send, name: str) -> None:
    built = send(IMAGES | NAMED[name])
    assert (built.counts, problems(built)) == (HALVES, {})


def test_a_table_names_the_images_beside_it_where_others_are_called_the_same(send: Send) -> None:
    files = {f"{part}/images/{number}.png": photo(number + more) for part, more in PLACES for number in range(4)}
    tables = {f"{part}/labels.csv": table(range(4)) for part, _ in PLACES}
    built = send(files | tables)
    assert built.counts == {label: {"train": 2, "test": 2} for label in "ab"}
    assert problems(built) == {}


PLACES = (("train", 0), ("test", 100))


def test_a_table_of_one_part_names_the_images_of_that_part(send: Send) -> None:
    files = {f"{part}_images/{number}.png": photo(number + more) for part, more in PLACES for number in range(4)}
    tables = {f"{part}_labels.csv": table(range(4)) for part, _ in PLACES}
    built = send(files | tables)
    assert built.counts == {label: {"train": 2, "test": 2} for label in "ab"}


def test_the_folders_of_the_images_tell_it_where_one_table_does_not(send: Send) -> None:
    files = {
        f"{'test' if number in TEST else 'train'}/{name}": data for number, (name, data) in enumerate(IMAGES.items())
    }
    assert send(files | {"labels.csv": table(range(12))}).counts == HALVES


def test_a_folder_that_holds_all_images_tells_nothing(send: Send) -> None:
    files = {f"test_images/{name}": data for name, data in IMAGES.items()}
    assert send(files | {"labels.csv": table(range(12))}).counts["a"] == {"train": 6, "test": 0}


def test_kaggles_sample_of_a_submission_labels_nothing(send: Send) -> None:
    files = IMAGES | {"train.csv": table(TRAIN), "sample_submission.csv": table(TEST)}
    built = send(files)
    assert built.counts == {label: {"train": 4, "test": 0} for label in "ab"}
    left_out = dict.fromkeys((f"{number}.png" for number in TEST), "no_label")
    assert problems(built) == {"sample_submission.csv": "unused"} | left_out


SPLITS = {
    "split": [("train", "test"), ("Training", "hold-out"), ("train", "eval"), ("TRAIN", "dev"), ("0", "1"), ("0", "2")],
    "usage": [("Training", "PrivateTest")],
    "is_valid": [("False", "True"), ("0", "1"), ("no", "yes")],
    "is_test": [("0", "1")],
    "is_train": [("true", "false")],
    "fold": [("train", "val")],
}


@pytest.mark.parametrize("column", SPLITS)
def test_a_column_tells_the_parts_in_any_usual_word(send: Send, column: str) -> None:
    for train, test in SPLITS[column]:
        values = {number: test if number in TEST else train for number in range(12)}
        assert {part_of_cell(train, column), part_of_cell(test, column)} in ({"train", "test"}, {"train", "val"})
    sent = table(range(12), values, f"filename,label,{column.upper()}")
    assert send(IMAGES | {"labels.csv": sent}).counts == HALVES


@pytest.mark.parametrize(
    ("column", "value"), [("split", "hold"), ("split", "3"), ("split", ""), ("is_valid", "maybe"), ("fold", "0")]
)
def test_a_value_that_says_no_part_is_an_error_that_names_it_once(send: Send, column: str, value: str) -> None:
    values = {number: value if number in TEST else "train" if column != "is_valid" else "0" for number in range(12)}
    sent = table(range(12), values, f"filename,label,{column}")
    assert refused(send, IMAGES | {"labels.csv": sent}) == {"labels.csv line 10": "unknown_split"}


@pytest.mark.parametrize("column", ["fold", "kfold"])
def test_numbers_of_folds_are_refused_with_what_to_write_instead(send: Send, column: str) -> None:
    sent = table(range(12), {number: str(number % 5) for number in range(12)}, f"filename,label,{column}")
    with pytest.raises(UnusableDataset) as refusal:
        send(IMAGES | {"labels.csv": sent})
    told = {entry["pointer"]: entry["detail"] for entry in refusal.value.problems}
    assert [*told] == [f"labels.csv line {line}" for line in range(2, 7)]
    assert told["labels.csv line 6"].startswith(
        f"The column {column} says '4'; which fold is the test, it does not say."
    )
    assert "Write train, val or test" in told["labels.csv line 6"]


def test_a_column_of_splits_decides_beside_one_of_folds(send: Send) -> None:
    cells = {number: f"{number % 5},{'test' if number in TEST else 'train'}" for number in range(12)}
    built = send(IMAGES | {"labels.csv": table(range(12), cells, "filename,label,fold,split")})
    assert (built.counts, problems(built)) == (HALVES, {})


FOLDERS = [
    ("training_set/training_set/", "test_set/test_set/"),
    ("seg_train/seg_train/", "seg_test/seg_test/"),
    ("pets_train/", "pets_test/"),
    ("TrainingSet/", "holdout/"),
    ("train/", "dev/"),
    ("Train data/", "Validation images/"),
]


@pytest.mark.parametrize(("train", "test"), FOLDERS)
def test_folders_that_speak_of_a_part_are_no_classes(send: Send, train: str, test: str) -> None:
    built = send(pets("cat", "dog", each=3, above=train) | pets("cat", "dog", each=2, above=test))
    assert built.counts == {label: {"train": 3, "test": 2} for label in ("cat", "dog")}
    assert problems(built) == {}


def test_what_was_to_be_predicted_is_left_out(send: Send) -> None:
    files = pets("sea", "street", above="seg_train/seg_train/") | pets("sea", "street", above="seg_test/seg_test/")
    built = send(files | {"seg_pred/seg_pred/0.png": photo(0)})
    assert problems(built) == {"seg_pred/seg_pred/0.png": "unused"}


NEARLY = [
    ("train", "bus"),
    ("training", "match"),
    ("testing", "tested"),
    ("test_tube", "train_station"),
    ("dev", "ops"),
]


@pytest.mark.parametrize(
    ("classes", "below"), [*((pair, "") for pair in NEARLY), *((pair, "a/") for pair in NEARLY[3:])]
)
def test_a_class_may_still_be_called_nearly_like_a_part(send: Send, classes: tuple[str, str], below: str) -> None:
    files = {name: data for label in classes for name, data in pets("", above=f"{label}/{below}").items()}
    assert set(send(files).counts) == set(classes)


def test_classes_that_all_hold_the_same_folders_are_told(send: Send) -> None:
    built = send(pets("cat", "dog", above="camera1/") | pets("cat", "dog", above="camera2/"))
    assert (set(built.counts), problems(built)) == ({"camera1", "camera2"}, {"classes": "same_folders"})


def test_classes_that_all_hold_one_folder_are_nothing_to_tell(send: Send) -> None:
    assert problems(send(pets("images", above="cat/") | pets("images", above="dog/"))) == {}


def test_words_are_found_in_names_and_no_others() -> None:
    for name, part in {
        "trainingSet": "train",
        "labels-val": "val",
        "test2": "test",
        "train_test": None,
        "strain": None,
        "latest": None,
    }.items():
        assert split_name(name)[0] == part
