"""service.datasets.images: the same bytes twice are told, and under two labels an error."""

from tests.service.datasets.conftest import Send, problems, refused
from tests.support.setfiles import pets, photo

PARTS = pets("cat", "dog", above="train/") | pets("cat", "dog", above="test/")


def test_the_same_bytes_in_train_and_test_are_a_warning_at_the_one_in_test(send: Send) -> None:
    built = send({"test/cat/again.png": PARTS["train/cat/0.png"]} | PARTS)
    assert (built.counts["cat"], problems(built)) == ({"train": 3, "test": 4}, {"test/cat/again.png": "same_bytes"})


def test_the_same_bytes_under_two_labels_are_an_error_in_whatever_parts(send: Send) -> None:
    sent = PARTS | {
        "test/dog/cat.png": PARTS["train/cat/0.png"],
        "train/dog/dog.png": photo(1),
        "train/cat/dog.png": photo(1),
    }
    assert list(refused(send, sent).values()) == ["two_labels"] * 2


def test_the_same_bytes_twice_in_one_class_and_part_are_nothing_to_tell(send: Send) -> None:
    assert problems(send(PARTS | {"train/cat/again.png": PARTS["train/cat/0.png"]})) == {}
