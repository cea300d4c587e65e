"""A few bytes of an archive or table must not cost much."""

import gzip
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import TooLarge, UnusableDataset
from core.imaging.idx_format import FILES
from service.datasets.extraction import MAX_LEVELS, MAX_NAME_LENGTH
from service.datasets.layouts.table_format import MAX_COLUMNS
from service.datasets.tar_headers import MAX_EXTENDED_BYTES, open_tar
from tests.service.datasets.conftest import Send, problems, refused
from tests.support.datafiles import pax_record, tar, tar_header, zipped
from tests.support.setfiles import idx_files, pets, photo

PAX, GLOBAL, LONG_NAME, SPARSE = tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE


WRONG_HEADERS = {
    "quadratic digits": tar_header(PAX, b"1" * 6000),
    "digits in a value": tar_header(PAX, pax_record("comment", "1" * 2000)),
    "quadratic keywords": tar_header(PAX, b"2 " * 3000 + b"="),
    "long pax": tar_header(PAX, pax_record("path", "x" * MAX_EXTENDED_BYTES)),
    "long name": tar_header(LONG_NAME, b"x" * (MAX_EXTENDED_BYTES + 1)),
    "a chain of them": tar_header(LONG_NAME, b"x\0") * 17,
    "a chain of global ones": tar_header(GLOBAL, pax_record("comment", "x")) * 17,
    "claims gigabytes": tar_header(PAX, size=2**33),
    "a size below zero": tar_header(tarfile.REGTYPE, size=-512),
    "a pax size below zero": tar_header(PAX, pax_record("size", "-512")),
    "sparse": tar_header(SPARSE),
    "a pax sparse map without end": tar_header(
        PAX, pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0")
    ),
}


@pytest.mark.parametrize("name", WRONG_HEADERS)
def test_a_tar_header_that_costs_more_than_it_should_damages_the_archive(send: Send, name: str) -> None:
    first = tar({"cat/0.txt": b"x" * 512})[:1024]
    member = tar(pets("cat", "dog"))
    assert refused(send, first + WRONG_HEADERS[name] + member)["body"] == "damaged"


def test_the_first_header_of_a_tar_is_told_as_any_other(send: Send) -> None:
    sent = gzip.compress(WRONG_HEADERS["quadratic digits"] + tar(pets("cat", "dog")))
    with pytest.raises(UnusableDataset, match="an extended header holds a number"):
        send(sent)


def test_tarfile_reads_no_extended_header_that_was_not_looked_at() -> None:
    """tarfile reads no extended header that was not checked.

    Its own reading is what takes the time: it is not given those bytes.
    """
    asked: list[int] = []

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(-1 if size is None else size)
            return super().read(size)

    with pytest.raises(tarfile.ReadError, match="longer than"):
        open_tar(Counting(tar_header(PAX, b"1" * 2**20)))
    assert max(asked) == tarfile.BLOCKSIZE


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_of_other_scripts_and_gits_comment_are_read_all_the_same(send: Send, form: int) -> None:
    label = "猫" * 60  # too long for a header of its own
    sent = tar_header(GLOBAL, pax_record("comment", "f" * 40)) + tar(pets("dog", label), form)
    assert list(send(sent).counts) == ["dog", label]


@pytest.mark.parametrize("pack", [zipped, tar])
def test_a_name_that_is_long_or_deep_is_left_out_and_shown_in_short(
    send: Send, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    names = {
        "x" * (MAX_NAME_LENGTH + 1): "long_name",
        "cat/" * MAX_LEVELS + "a/b.png": "long_name",
    }
    found = problems(send(pack(pets("cat", "dog") | dict.fromkeys(names, photo(7)))))
    assert found == {(name if len(name) <= 300 else f"{name[:300]}..."): code for name, code in names.items()}


def test_a_name_at_the_bounds_is_kept(send: Send) -> None:
    deepest = "cat/" + "a/" * (MAX_LEVELS - 1) + "b" * (MAX_NAME_LENGTH - 4 - 2 * (MAX_LEVELS - 1))
    built = send(pets("cat", "dog") | {deepest: photo(7)})
    assert (built.counts["cat"]["train"], problems(built)) == (4, {})


def test_a_zip_with_a_long_directory_is_refused(send: Send) -> None:
    with pytest.raises(TooLarge, match="MAX_ZIP_DIRECTORY_BYTES"):
        send(pets("cat", "dog"), max_zip_directory_bytes=100)


def test_a_zip_name_in_an_unknown_encoding_is_kept_and_told(send: Send) -> None:
    sent = zipped(pets("cat", "xxxx")).replace(b"xxxx/", "狗犬".encode("gbk") + b"/")
    built = send(sent)
    assert set(problems(built).values()) == {"name_encoding"}
    assert sum(count["train"] for count in built.counts.values()) == 6


def test_idx_images_have_the_limit_of_all_images(send: Send, folder: Path) -> None:
    assert send(idx_files(), max_image_pixels=100).layout == "idx"  # of 10x10
    shutil.rmtree(folder)
    assert refused(send, idx_files(), max_image_pixels=99) == {FILES[0]: "too_large", FILES[2]: "too_large"}


def test_idx_files_of_as_many_images_as_files_are_allowed_are_taken(send: Send) -> None:
    assert send(idx_files(), max_dataset_files=12).layout == "idx"


def test_idx_files_of_more_images_are_refused(send: Send) -> None:
    assert refused(send, idx_files(), max_dataset_files=11) == dict.fromkeys(FILES, "too_large")


def test_rows_that_miss_columns_cost_nothing_for_each_that_they_miss(send: Send) -> None:
    header_line = ",".join(["filename", "label", *(f"c{number}" for number in range(MAX_COLUMNS - 2))])
    rows = "".join(f"{number}.png,{'ab'[number % 2]}\n" for number in range(8))
    images = {f"{number}.png": photo(number) for number in range(8)}
    assert send(images | {"labels.csv": f"{header_line}\n{rows}".encode()}).counts["b"]["train"] == 4


def test_a_table_with_a_line_that_does_not_end_is_refused(send: Send) -> None:
    table = b"filename,label\n0.png,a\n1.png,b\n" + b"," * 200_000
    files = {f"{number}.png": photo(number) for number in range(2)} | {"labels.csv": table}
    assert refused(send, files)["labels.csv"] == "bad_table"
