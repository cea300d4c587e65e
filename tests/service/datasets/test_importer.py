"""service.datasets: lenient on layout, strict on content; all problems named at once."""

import errno
import gzip
import io
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from core.errors import InvalidInput, NoSpace, TooLarge
from core.imaging.idx_format import FILES
from core.imaging.preparation import encode_png
from core.settings import Settings
from service.datasets import extraction, validation_report
from service.datasets.extraction import Sent
from service.datasets.file_store import FileStore
from service.datasets.importer import build
from service.uploads import disk_space
from tests.service.datasets.conftest import Send, problems, refused
from tests.support.datafiles import idx, tar_gz, zipped
from tests.support.setfiles import deep, idx_files, pets, photo, rotated
from worker.data.datasets import load

SIZES = {"train": 5, "test": 3, "val": 2}  # images of each class
DOTTED = tuple(file.replace("-idx", ".idx") for file in FILES)


# -- layouts


@pytest.mark.parametrize("above", ["", "photos/", "a/b/c/", "train/", "photos/train/"])
def test_folders_of_classes_are_found_below_any_others(send: Send, settings: Settings, above: str) -> None:
    built = send(pets("cat", "dog", each=5, above=above))
    assert built.counts == {"cat": {"train": 5, "test": 0}, "dog": {"train": 5, "test": 0}}
    data = load("pets", settings)
    assert data.classes == ("cat", "dog")
    assert np.bincount(data.train_labels).tolist() == [4, 4]


@pytest.mark.parametrize("part", ["test", "val", "Validation"])
def test_a_test_part_beside_the_training_is_kept_as_that(send: Send, settings: Settings, part: str) -> None:
    files = pets("cat", "dog", above="top/train/") | pets("cat", "dog", each=2, above=f"top/{part}/")
    assert send(files).counts["dog"] == {"train": 3, "test": 2}
    data = load("pets", settings)
    assert (len(data.train_labels), len(data.test_labels)) == (6, 4)


def test_a_validation_part_beside_both_is_what_chooses_the_epoch(send: Send, settings: Settings) -> None:
    parts = {part: pets("cat", "dog", each=count, above=f"{part}/") for part, count in SIZES.items()}
    built = send(parts["train"] | parts["val"] | parts["test"])
    assert (problems(built), built.counts) == ({}, {"cat": SIZES, "dog": SIZES})
    data = load("pets", settings)
    assert (len(data.train_labels), len(data.test_labels), data.held_back) == (14, 6, 4)


def test_of_two_validation_parts_one_is_taken_and_the_other_named(send: Send) -> None:
    parts = {part: pets("cat", "dog", above=f"{part}/") for part in ("train", "test", "val", "validation")}
    built = send({name: data for files in parts.values() for name, data in files.items()})
    assert problems(built) == dict.fromkeys(parts["validation"], "unused")


def test_a_column_tells_the_validation_part_too(send: Send, settings: Settings) -> None:
    parts = ["val"] * 2 + ["test"] * 2 + ["train"] * 4
    rows = [f"{number}.png,{'ab'[number % 2]},{part}\n" for number, part in enumerate(parts)]
    files = {f"{number}.png": photo(number) for number in range(8)}
    built = send(files | {"labels.csv": ("filename,label,split\n" + "".join(rows)).encode()})
    assert built.counts == {label: {"train": 2, "test": 1, "val": 1} for label in "ab"}
    assert load("pets", settings).held_back == 2


def test_a_class_must_be_in_a_validation_part_as_well(send: Send) -> None:
    sent = pets("cat", "dog", above="train/") | pets("cat", "dog", above="test/") | pets("cat", above="val/")
    assert refused(send, sent) == {"dog": "too_few_images"}


def test_classes_may_be_called_like_parts(send: Send, settings: Settings) -> None:
    assert list(send(pets("valid", "invalid")).counts) == ["invalid", "valid"]
    assert load("pets", settings).classes == ("invalid", "valid")


def test_what_a_persons_system_put_there_is_no_problem(send: Send) -> None:
    junk = {".DS_Store": b"x", "top/cat/Thumbs.db": b"x", "__MACOSX/top/._0.png": b"x", "top/.git/HEAD": b"x"}
    assert problems(send(pets("cat", "dog", above="top/") | junk)) == {}


def test_class_names_of_every_script_are_kept_in_one_form(send: Send, settings: Settings) -> None:
    send(pets("кошка", "猫", "cafe\u0301", "قطة", "می\u200cروم"))
    assert set(load("pets", settings).classes) == {"кошка", "猫", "caf\u00e9", "قطة", "می\u200cروم"}


def test_names_that_do_not_say_that_they_are_utf_8_are_read_as_that(send: Send) -> None:
    sent = bytearray(zipped(pets("Hund", "Schäfer")))
    for signature, flags in ((rb"PK\x03\x04", 6), (rb"PK\x01\x02", 8)):
        for entry in re.finditer(signature, bytes(sent)):
            sent[entry.start() + flags + 1] = 0
    assert list(send(bytes(sent)).counts) == ["Hund", "Schäfer"]


@pytest.mark.parametrize("compression", ["", "gz"])
def test_a_tar_is_as_good_as_a_zip(send: Send, compression: str) -> None:
    files = {f"./{name}": data for name, data in pets("cat", "dog").items()}
    sent = tar_gz(files)
    assert send(sent if compression else gzip.decompress(sent)).counts["cat"]["train"] == 3


def test_a_table_says_which_image_is_of_which_class(send: Send, settings: Settings) -> None:
    images = {f"top/images/{number}.png": photo(number) for number in range(6)}
    rows = "".join(f"{number}.png;{'猫' if number % 2 else 'dog/wolf'[:3]}\n" for number in range(5))
    table = f"\ufeffFilename;Label\n{rows}9.png;dog\n4.png;dog\n3.png;\n"
    built = send(images | {"top/labels.csv": table.encode()})
    assert built.counts == {"dog": {"train": 3, "test": 0}, "猫": {"train": 2, "test": 0}}
    assert set(problems(built).values()) == {"missing_file", "duplicate", "no_label"}
    assert problems(built)["images/5.png"] == "no_label"
    assert load("pets", settings).classes == ("dog", "猫")


def test_a_name_that_two_files_have_is_not_guessed(send: Send) -> None:
    images = {f"{folder}/{number}.png": photo(number) for folder in ("x", "y") for number in range(4)}
    rows = "".join(f"{folder}/{n}.png,{'ab'[n % 2]}\n" for folder in ("x", "y") for n in range(3))
    built = send(images | {"labels.csv": f"file,label\n{rows}3.png,b\n".encode()})
    assert problems(built) == {"labels.csv line 8": "missing_file", "x/3.png": "no_label", "y/3.png": "no_label"}


def test_tables_and_columns_tell_the_test_part(send: Send) -> None:
    images = {f"{number}.png": photo(number) for number in range(8)}
    rows = [f"{number}.png,{'ab'[number % 2]},{'val' if number < 4 else 'train'}\n" for number in range(8)]
    assert send(images | {"all.csv": f"file,class,split\n{''.join(rows)}".encode()}).counts["a"]["test"] == 2


@pytest.mark.parametrize(
    "names",
    [FILES, DOTTED, tuple(f"mnist/{a}/{b}" for a, b in zip(FILES, DOTTED, strict=True))],
    ids=["plain", "dotted", "in folders"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_four_idx_files_are_a_data_set(
    send: Send, settings: Settings, names: tuple[str, ...], packed: bool
) -> None:
    files = idx_files(names)
    built = send({f"{name}.gz": gzip.compress(data) for name, data in files.items()} if packed else files)
    assert (built.layout, built.counts["2"]) == ("idx", {"train": 4, "test": 4})
    data = load("pets", settings)
    assert (data.classes, data.style, data.train_images.shape) == (("0", "1", "2"), "plain", (12, 10, 10, 1))


@pytest.mark.parametrize(("name", "style"), [("mnist", "digit"), ("fashion_mnist", "plain")])
def test_real_idx_files_of_digits_are_digits_and_those_of_clothes_are_not(
    send: Send, settings: Settings, shared: Path, name: str, style: str
) -> None:
    built = send({f"{file}.gz": (shared / "data" / name / f"{file}.gz").read_bytes() for file in FILES})
    assert (built.layout, sum(count["train"] for count in built.counts.values())) == ("idx", 60_000)
    assert problems(built) == {}
    data = load("pets", settings)
    assert (data.style, data.classes, data.detail) == (style, tuple("0123456789"), 28)


def test_idx_files_come_one_by_one_too(settings: Settings, folder: Path, tmp_path: Path) -> None:
    sent = []
    for name, data in idx_files().items():
        (tmp_path / name).write_bytes(gzip.compress(data))
        sent.append(Sent(f"{name}.gz", tmp_path / name))
    assert build(sent, folder, settings).layout == "idx"


def test_idx_files_that_do_not_fit_are_all_named(send: Send) -> None:
    files = {**idx_files(), FILES[1]: b"none", FILES[2]: idx_files()[FILES[2]][:-1]}
    del files[FILES[3]]
    assert refused(send, files) == {FILES[1]: "damaged", FILES[2]: "truncated", FILES[3]: "missing_file"}


def test_labels_of_other_images_are_refused(send: Send) -> None:
    labels = idx(np.zeros(5, np.uint8))
    assert refused(send, {**idx_files(), FILES[3]: labels}) == {FILES[3]: "missing_file"}


# -- contents


def test_the_real_ants_and_bees_with_everything_that_can_be_wrong(send: Send, settings: Settings, shared: Path) -> None:
    root = shared / "data" / "ants_bees"
    real = {f"set/{path.relative_to(root)}": path.read_bytes() for path in sorted(root.rglob("*.jpg"))}
    fine = {
        "set/train/ants/cmyk.jpg": photo(3, "JPEG", "CMYK"),
        "set/train/ants/palette.png": photo(4, "PNG", "P"),
        "set/train/ants/deep.png": deep(),
        "set/train/bees/rotated.jpg": rotated(),
        "set/train/bees/moves.gif": (shared / "data" / "not_an_ant.gif").read_bytes(),
    }
    cut = next(iter(real.values()))[:-10_000]
    wrong = {"set/train/ants/cut.jpg": cut, "set/train/bees/notes.txt": b"buzz", "set/train/wasps/": b""}
    built = send(real | fine | wrong | {"set/.DS_Store": b"x"})
    assert built.counts == {"ants": {"train": 93, "test": 55}, "bees": {"train": 92, "test": 55}}
    found = {"train/ants/cut.jpg": "truncated", "train/bees/notes.txt": "not_an_image", "train/wasps": "empty_class"}
    assert problems(built) == found
    data = load("pets", settings)
    assert (data.classes, len(data.train_labels), len(data.test_labels)) == (("ants", "bees"), 185, 110)


def test_a_photo_of_a_camera_held_upright_is_trained_on_upright(send: Send, settings: Settings) -> None:
    lying = {"test/cat/a.jpg": rotated(), "test/dog/a.jpg": photo(1, "JPEG")}  # the same pixels, one with Exif's tag
    send(pets("cat", "dog", above="train/") | lying)
    images = load("pets", settings).test_images
    assert isinstance(images, np.ndarray)
    upright, as_it_lies = images.astype(float)
    assert np.abs(upright - np.rot90(as_it_lies, -1)).mean() < 1  # clockwise
    assert np.abs(upright - as_it_lies).mean() > 20


def usps(shared: Path, part: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read USPS's real digits, n x 16 x 16, and their labels.

    They are white on black.
    """
    rows = np.loadtxt(shared / "data" / "usps" / f"usps_zip.{part}.gz")
    images = np.round((rows[:, 1:] + 1) * 127.5).astype(np.uint8)
    return images.reshape(-1, 16, 16), rows[:, 0].astype(np.uint8)


def test_the_real_digits_of_usps_in_mnists_form_are_counted_rightly(
    send: Send, settings: Settings, shared: Path
) -> None:
    files = (idx(values) for part in ("train", "test") for values in usps(shared, part))
    built = send(dict(zip(FILES, files, strict=True)))
    trained = (1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644)  # as those who made them say
    tested = (359, 264, 198, 166, 200, 160, 170, 147, 166, 177)
    assert built.counts == {str(n): {"train": trained[n], "test": tested[n]} for n in range(10)}
    assert np.bincount(load("pets", settings).test_labels).tolist() == list(tested)


def test_some_of_them_in_folders_are_counted_rightly(send: Send, shared: Path) -> None:
    images, labels = (values[:300] for values in usps(shared, "test"))
    numbered = enumerate(zip(images, labels, strict=True))
    files = {f"zip/{label}/{number}.png": encode_png(image[..., None]) for number, (image, label) in numbered}
    built = send(files)
    counts = np.bincount(labels)
    assert built.counts == {str(digit): {"train": counts[digit], "test": 0} for digit in range(10)}
    assert problems(built) == {}


def test_a_file_that_is_too_large_is_left_out(send: Send) -> None:
    files = pets("cat", "dog") | {"cat/wide.png": photo(9), "cat/long.png": photo(8) + b"x" * 5000}
    built = send(files, max_body_bytes=5000, max_image_pixels=32 * 24)
    assert problems(built) == {"cat/long.png": "too_large"}


def test_the_same_name_twice_counts_once(send: Send, tmp_path: Path) -> None:
    data = io.BytesIO(zipped(pets("cat", "dog")))
    with zipfile.ZipFile(data, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("cat/0.png", photo(7))
    built = send(data.getvalue())
    assert (problems(built), built.counts["cat"]["train"]) == ({"cat/0.png": "duplicate"}, 3)


def test_files_of_one_name_in_folders_of_one_class_are_all_kept(send: Send, settings: Settings) -> None:
    files = pets("a", "b", above="cat/") | pets("dog")
    assert send(files | {"README.txt": b"hello"}).counts["cat"] == {"train": 6, "test": 0}
    assert len(load("pets", settings).train_labels) == 7


@pytest.mark.parametrize("name", ["x" * 250 + ".png", "a\nb\x01.png", "\u202f.png"])
def test_whatever_a_file_is_called_it_is_kept(send: Send, settings: Settings, name: str) -> None:
    assert send(pets("cat", "dog") | {f"cat/{name}": photo(7)}).counts["cat"]["train"] == 4
    assert len(load("pets", settings).classes) == 2


@pytest.mark.parametrize("label", ["a\nb", "x" * 250, "\x7f", "\x9b2J", "do\u202eg", "cat\u200b"])
def test_a_class_that_no_folder_can_be_called_is_named(send: Send, label: str) -> None:
    assert set(problems(send(pets("cat", "dog") | {f"{label}/a.png": photo(7)})).values()) == {"class_name"}


@pytest.mark.parametrize("path", ["../../out.png", "/etc/out.png", "cat/../../out.png", "..\\..\\out.png"])
def test_a_path_that_climbs_out_is_left_out(send: Send, folder: Path, path: str) -> None:
    assert problems(send(pets("cat", "dog") | {path: photo(7)})) == {path: "unsafe_path"}
    assert list(folder.parent.parent.rglob("out.png")) == []


def test_links_and_devices_are_left_out(send: Send) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in pets("cat", "dog").items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("cat/passwd.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert problems(send(data.getvalue())) == {"cat/passwd.png": "not_a_file"}


def test_an_encrypted_entry_is_left_out(send: Send) -> None:
    sent = bytearray(zipped(pets("cat", "dog")))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        sent[sent.index(signature) + flags] |= 1
    assert problems(send(bytes(sent))) == {"cat/0.png": "encrypted"}


def test_an_entry_with_a_wrong_checksum_is_left_out(send: Send) -> None:
    files = pets("cat", "dog")
    sent = zipped(files)
    at = sent.index(b"cat/1.png") + len("cat/1.png") + 20
    assert set(problems(send(sent[:at] + b"xxxx" + sent[at + 4 :])).items()) == {("cat/1.png", "damaged")}


# -- what makes a training impossible


def test_one_class_is_not_enough(send: Send) -> None:
    assert refused(send, pets("cat")) == {"classes": "too_few_classes"}


def test_a_class_without_a_readable_image_is_named_beside_its_files(send: Send) -> None:
    assert refused(send, pets("cat", "dog") | {"fox/a.png": b"none"}) == {
        "fox": "empty_class",
        "fox/a.png": "not_an_image",
    }


def test_one_image_of_a_class_is_too_few(send: Send) -> None:
    assert refused(send, pets("cat", "dog") | {"fox/a.png": photo(7)}) == {"fox": "too_few_images"}


def test_a_class_must_be_in_both_parts(send: Send) -> None:
    files = pets("cat", "dog", above="train/") | pets("cat", "fox", above="test/")
    assert refused(send, files) == {"dog": "too_few_images", "fox": "too_few_images"}


def test_classes_that_only_case_tells_apart_are_one_mistake(send: Send) -> None:
    assert refused(send, pets("cat", "Cat", "dog")) == {"cat": "class_case"}


def test_a_table_that_is_not_utf_8_says_so(send: Send) -> None:
    table = "filename,label\n0.png,Schäfer\n".encode("latin-1")
    assert refused(send, {"0.png": photo(0), "labels.csv": table})["labels.csv"] == "bad_table"


@pytest.mark.parametrize(("at", "value"), [(42, b"\xff" * 4), (28, b"\0\0")], ids=["offset", "length of the name"])
def test_a_zip_whose_directory_lies_is_damaged(send: Send, at: int, value: bytes) -> None:
    sent = zipped(pets("cat", "dog", each=1))
    entry = sent.index(b"PK\x01\x02") + at
    with pytest.raises(InvalidInput):
        send(sent[:entry] + value + sent[entry + len(value) :])


def test_a_truncated_archive_is_damaged(send: Send) -> None:
    noise = {f"{label}/x.png": photo(1) + np.random.default_rng(1).bytes(50_000) for label in ("cat", "dog")}
    assert refused(send, tar_gz(pets("cat", "dog") | noise)[:-60_000])["body"] == "damaged"


@pytest.mark.parametrize("sent", [b"", b"none", photo(1)])
def test_what_is_no_archive_is_refused(send: Send, sent: bytes) -> None:
    with pytest.raises(InvalidInput, match="neither a zip nor a tar"):
        send(sent)


# -- limits


def test_a_zip_bomb_is_not_unpacked(send: Send, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "ALWAYS_BYTES", 0)
    with pytest.raises(TooLarge, match="100 times its own size"):
        send(pets("cat", "dog") | {"cat/bomb.png": bytes(20_000_000)})
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 100_000


def test_what_is_passed_over_counts_too(send: Send) -> None:
    sent = tar_gz(pets("cat", "dog") | {".DS_Store": bytes(5_000_000)})
    with pytest.raises(TooLarge, match="unpacks to more"):
        send(sent, max_dataset_unpacked_bytes=1_000_000)


def test_a_gzip_in_a_zip_is_bounded_too(send: Send) -> None:
    bomb = {f"{FILES[0]}.gz": gzip.compress(bytes(5_000_000))}
    with pytest.raises(TooLarge, match="unpacks to more"):
        send(bomb, max_dataset_unpacked_bytes=1_000_000)


@pytest.mark.parametrize("pack", [zipped, tar_gz])
def test_more_entries_than_allowed_are_refused(send: Send, pack: Callable[[Mapping[str, bytes]], bytes]) -> None:
    with pytest.raises(TooLarge, match="MAX_DATASET_FILES"):
        send(pack(pets("cat", "dog")), max_dataset_files=5)


def test_a_disk_without_room_is_told_before_it_is_full(send: Send) -> None:
    with pytest.raises(NoSpace):
        send(pets("cat", "dog"), min_free_bytes=2**60)


def test_the_room_on_a_disk_is_measured_while_others_fill_it(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    files = pets("cat", "dog") | {f"cat/{number}.bin": os.urandom(3 * 2**20) for number in range(2)}
    free = iter([*[2**40] * 4, *[0] * 100])
    monkeypatch.setattr(disk_space, "free_bytes", lambda _: next(free))
    with pytest.raises(NoSpace, match="TUNESERVE_MIN_FREE_BYTES"):
        send(files)


def test_a_tar_header_that_claims_gigabytes_is_not_read_into_memory(send: Send) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.XHDTYPE, 2**33
    first = gzip.decompress(tar_gz({"cat/0.txt": b"x" * 512}))[:1024]
    assert refused(send, first + header.tobuf(tarfile.PAX_FORMAT) + bytes(1024))["body"] == "damaged"


# -- what is kept


def test_of_very_many_problems_the_first_are_kept_and_all_counted(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation_report, "MAX_SHOWN", 2)
    built = send(pets("cat", "dog") | {f"cat/{number}.txt": b"none" for number in range(5)})
    assert (len(built.problems), built.problem_count) == (2, 5)


def test_a_full_disk_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(NoSpace), FileStore(tmp_path).aside() as aside:
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not aside.exists()


def test_another_content_has_another_digest(send: Send, folder: Path) -> None:
    first = send(pets("cat", "dog"))
    folder.rename(folder.parent / "first")
    again = send({f"top/{name}": data for name, data in pets("cat", "dog").items()})
    folder.rename(folder.parent / "again")
    other = send(pets("cat", "dog") | {"cat/0.png": photo(77)})
    assert first.digest == again.digest != other.digest


def test_what_a_killed_service_left_aside_goes_after_a_day(tmp_path: Path) -> None:
    old, new = tmp_path / ".aside-old", tmp_path / ".aside-new"
    for left in (old, new):
        (left / "built").mkdir(parents=True)
    os.utime(old, (0, 0))
    with FileStore(tmp_path).aside() as aside:
        assert {path.name for path in tmp_path.iterdir()} == {".aside-new", aside.name}
