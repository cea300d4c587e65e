"""Tables as programs write them are read; others are clear errors.

The error says what is wanted.
"""

import pytest

from core.errors import UnusableDataset
from service.datasets.layouts.table_format import MAX_COLUMNS
from tests.service.datasets.conftest import Send, problems, refused
from tests.support.setfiles import pets, photo

IMAGES = {f"{number}.png": photo(number) for number in range(6)}
BODY = "".join(f"{number}.png,{'ab'[number % 2]}\n" for number in range(6))
PLAIN = f"filename,label\n{BODY}"
READ = {
    "Excel's sep=": f"sep=;\n{PLAIN.replace(',', ';')}".encode(),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 without a mark": PLAIN.encode("utf-16-le"),
    "UTF-16, big-endian": PLAIN.encode("utf-16-be"),
    "UTF-8 with a mark": PLAIN.encode("utf-8-sig"),
    "blank first lines": f"\n \r\n{PLAIN}".encode(),
    "bars": PLAIN.replace(",", "|").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "id, label": PLAIN.replace("filename", "id").replace(".png", "").encode(),
    "image_id, labels": PLAIN.replace("filename,label", "image_id,labels").encode(),
    "Image ID, Class": PLAIN.replace("filename,label", "Image ID,Class").encode(),
    "no header": BODY.encode(),
    "no header, labels first": "".join(f"{'ab'[number % 2]};{number}.png\n" for number in range(6)).encode(),
    "a blank line within": PLAIN.replace("3.png", "\n3.png").encode(),
    "names in another case": PLAIN.replace(".png", ".PNG").encode(),
    "Windows paths": PLAIN.replace("\n", "\r\n").replace("0.png", "C:\\photos\\0.png").encode(),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("file", ["labels.csv"])
def test_a_table_is_read_as_it_was_written(send: Send, name: str, file: str) -> None:
    built = send(IMAGES | {file: READ[name]})
    assert (built.layout, built.counts, problems(built)) == (
        "table",
        {"a": {"train": 3, "test": 0}, "b": {"train": 3, "test": 0}},
        {},
    )


def test_extensions_may_be_in_capitals(send: Send) -> None:
    files = {name.upper(): data for name, data in IMAGES.items()}
    assert send(files | {"LABELS.CSV": PLAIN.encode()}).counts["a"] == {"train": 3, "test": 0}


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (PLAIN.replace("filename,label", "picture,breed"), "needs a header .* its first line says: picture, breed"),
        ("", "its first line says: nothing"),
        (",".join(["filename", "label", *map(str, range(MAX_COLUMNS))]) + "\n" + BODY, "more than 1000 columns"),
        (PLAIN + "x" * 200_000, "more than 100000 characters"),
    ],
    ids=["other columns", "empty", "too many columns", "a long line"],
)
def test_a_table_that_is_not_understood_is_an_error_that_says_what_is_wanted(send: Send, sent: str, said: str) -> None:
    with pytest.raises(UnusableDataset, match=said):
        send(IMAGES | {"labels.csv": sent.encode()})


def test_where_only_parts_are_folders_a_table_must_be_understood(send: Send) -> None:
    files = {
        f"{part}/{number}.png": photo(number + 9 * more)
        for more, part in enumerate(("train", "test"))
        for number in range(4)
    }
    assert refused(send, files | {"labels.csv": b"picture,breed\n0.png,a\n"})["labels.csv"] == "bad_table"


def test_beside_class_folders_any_table_may_lie_and_is_named(send: Send) -> None:
    built = send(pets("cat", "dog") | {"sizes.csv": b"picture,width\n0.png,32\n"})
    assert (built.layout, problems(built)) == ("folders", {"sizes.csv": "unused"})


def test_a_line_is_counted_from_the_files_first(send: Send) -> None:
    sent = f"sep=,\n\n{PLAIN}9.png,a\n".encode()
    assert problems(send(IMAGES | {"labels.csv": sent})) == {"labels.csv line 10": "missing_file"}
