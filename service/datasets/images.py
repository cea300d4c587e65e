"""Check every image before training and keep the readable ones.

They are kept as ``<part>/<class>/<file>``.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from PIL import UnidentifiedImageError

from core.artifacts.batch_files import JUNK
from core.artifacts.dataset_files import StoredImage
from core.cpus import cpus
from core.errors import NotAnImage, TooLarge
from core.imaging.decoding import decode
from core.imaging.preparation import fit_photo
from core.printable import JOINERS, first_invisible
from core.settings import Settings
from core.splitting.groups import SPLIT_SEED, TEST_SHARE, hold_back, undivided
from service.datasets.duplicates import Occurrence, report_repeated
from service.datasets.layouts.class_folders import Sample
from service.datasets.layouts.name_groups import NamePattern
from service.datasets.layouts.parts import Part
from service.datasets.validation_report import Code, ValidationReport

MAX_NAME_BYTES = 200  # bytes of a file's or class's name; disks take 255
BLOCK = 256  # images looked at between two looks at the results
PARTS_IN_ORDER: tuple[Part, ...] = ("train", "val", "test")
Found = str | tuple[Code, str]  # the sha256 of a file, or what is wrong with it
Counts = dict[str, dict[str, int]]  # of the images of each class, by part


def keep(
    samples: Sequence[Sample], folder: Path, settings: Settings, report: ValidationReport, group_pattern: str = ""
) -> tuple[Counts, list[StoredImage]]:
    """Keep the readable images; return the counts by class and the images.

    Problems go to ``report``. ``group_pattern``: how file names tell groups, see NamePattern.
    """
    counts, placed = read(samples, folder, settings, report)
    placed = grouped(placed, group_pattern, report)
    judge(counts, report)
    judge_groups(placed, report)
    return counts, placed


def read(
    samples: Sequence[Sample], folder: Path, settings: Settings, report: ValidationReport
) -> tuple[Counts, list[StoredImage]]:
    """Keep the readable images.

    It does not matter whether they can be trained on alone.
    """
    named = [sample for sample in samples if _has_good_name(sample, report)]
    good = _examine_all(named, settings, report)
    _compare_contents(good, report)
    placed = _place(good, folder)
    return count(placed, {sample.label for sample in named}), placed


def grouped(images: Sequence[StoredImage], pattern: str, report: ValidationReport) -> list[StoredImage]:
    """Give each image that has no group the one in its file name."""
    if not pattern:
        return list(images)
    names = NamePattern.parse(pattern)
    found = [image if image.group else replace(image, group=names.group_of(image.file)) for image in images]
    if left := [image.file for image in found if not image.group]:
        reason = f"{len(left)} of {len(found)} file names do not fit the pattern {pattern}, such as {left[0]}."
        (report.warn if len(left) < len(found) else report.refuse)("group_pattern", "group_name", reason)
    return found


def digest_of(images: Iterable[StoredImage]) -> str:
    """Compute one sha256 over all images, whatever their order.

    It covers part, class, name, content and group.
    """
    return hashlib.sha256("".join(sorted(map(_line, images))).encode()).hexdigest()


def _line(image: StoredImage) -> str:
    group = f"\0{image.group}" if image.group else ""
    return f"{image.part}/{image.label}/{image.file}\0{image.digest}{group}\n"


def class_refusal(label: str) -> str | None:
    """Say why a class cannot have this name; None if it can."""
    odd = label.startswith(".") or label in JUNK or "/" in label or first_invisible(label, kept=JOINERS)
    if label and not odd and _fits_a_disk(label):
        return None
    rule = f"no / or control or invisible character in it, no dot before it, and at most {MAX_NAME_BYTES} bytes"
    return f"{label!r} cannot be a class: {rule}."


def _has_good_name(sample: Sample, report: ValidationReport) -> bool:
    if reason := class_refusal(sample.label):
        report.warn(sample.entry.path, "class_name", reason)
        return False
    return True


def _compare_names(labels: Iterable[str], report: ValidationReport) -> None:
    first: dict[str, str] = {}
    for label in sorted(labels):
        other = first.setdefault(unicodedata.normalize("NFC", label.casefold()), label)
        if other != label:
            report.refuse(label, "class_case", f"It differs from the class {other} only in case: give both one name.")


def _examine_all(samples: Sequence[Sample], settings: Settings, report: ValidationReport) -> list[tuple[Sample, str]]:
    """List the readable samples, each with its file's digest."""
    good = []
    look, waiting = partial(_examine, settings=settings), iter(samples)
    with ThreadPoolExecutor(max(1, cpus() // 2), "examine") as pool:  # predictions go on beside it
        while block := list(islice(waiting, BLOCK)):
            for sample, found in zip(block, pool.map(look, block), strict=True):
                if isinstance(found, str):
                    good.append((sample, found))
                else:
                    report.warn(sample.entry.path, *found)
    return good


def _examine(sample: Sample, settings: Settings) -> Found:
    file = sample.entry.file
    if file.stat().st_size > settings.max_body_bytes:
        return "too_large", f"The file is larger than {settings.max_body_bytes} bytes."
    data = file.read_bytes()
    try:
        fit_photo(decode(data, settings.max_image_pixels))
    except TooLarge as error:
        return "too_large", str(error)
    except NotAnImage as error:
        unknown = isinstance(error.__cause__, UnidentifiedImageError)
        return "not_an_image" if unknown else "truncated", str(error)
    return hashlib.sha256(data).hexdigest()


def _compare_contents(good: Sequence[tuple[Sample, str]], report: ValidationReport) -> None:
    first: dict[str, Occurrence] = {}
    for sample, digest in sorted(good, key=lambda found: PARTS_IN_ORDER.index(found[0].part)):
        one = Occurrence(str(sample.entry.path), sample.label, sample.part)
        report_repeated(one, first.setdefault(digest, one), report)


def count(images: Collection[StoredImage], labels: Iterable[str] = ()) -> Counts:
    """Count the images of each class by part.

    ``labels`` are classes that may have none.
    """
    counted = Counter((image.label, image.part) for image in images)
    parts: tuple[Part, ...] = ("train", "test")
    if any(part == "val" for _, part in counted):
        parts += ("val",)
    names = {label for label, _ in counted} | set(labels)
    return {label: {part: counted[label, part] for part in parts} for label in sorted(names)}


def judge(counts: Counts, report: ValidationReport) -> None:
    """Report classes whose image counts make training impossible."""
    _compare_names(counts, report)
    has_test = any(count["test"] for count in counts.values())
    needed = ["train"] + [part for part in ("test", "val") if any(count.get(part) for count in counts.values())]
    if len(counts) < 2:
        reason = f"At least two classes are needed, a folder each; found: {', '.join(counts) or 'none'}."
        report.refuse("classes", "too_few_classes", reason)
    for label, count in counts.items():
        if not sum(count.values()):
            report.refuse(label, "empty_class", "The class holds no image that can be read.")
        elif has_test and (missing := next((part for part in needed if not count.get(part)), None)):
            report.refuse(label, "too_few_images", f"The class has no image in the {missing} part.")
        elif count["train"] < 2 and not has_test:
            report.refuse(label, "too_few_images", "The class has one image: one to learn from and one to test with.")


def judge_groups(images: Collection[StoredImage], report: ValidationReport) -> None:
    """Report groups in two parts, and classes that groups leave undivided.

    The second only if training has to split a test part off.
    """
    parts: dict[str, set[str]] = {}
    for image in images:
        if image.group:
            parts.setdefault(image.group, set()).add(image.part)
    for group, found in sorted(parts.items()):
        if len(found) > 1:
            named = " and ".join(sorted(found))
            reason = f"The group {group} has images in {named}. Put all of them in one part; if the column group or "
            report.refuse(group, "group_parts", f"{reason}group_pattern means something else, leave it out.")
    if parts and not any(image.part == "test" for image in images):
        training = [image for image in images if image.part == "train"]
        labels = sorted({image.label for image in training})
        index = {label: number for number, label in enumerate(labels)}
        numbers = [index[image.label] for image in training]
        held = hold_back(numbers, [image.group for image in training], TEST_SHARE, SPLIT_SEED)
        for number in sorted(undivided(numbers, held)):
            reason = "Its groups leave no image to test with: each class needs images of two groups, or a test part."
            report.refuse(labels[number], "too_few_images", reason)


def _place(good: Sequence[tuple[Sample, str]], folder: Path) -> list[StoredImage]:
    """Move each file to where it belongs."""
    taken: set[Path] = set()
    placed = []
    for number, (sample, digest) in enumerate(good):
        path = Path(sample.part, sample.label, _file_name(sample))
        while path in taken:
            path = path.with_name(f"{number}-{path.name}")
        taken.add(path)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        sample.entry.file.rename(folder / path)
        placed.append(StoredImage(sample.part, sample.label, path.name, digest, group=sample.group))
    return placed


def _file_name(sample: Sample) -> str:
    """Return the sent file name if the disk accepts it.

    The trainer skips names that begin with a dot.
    """
    name = sample.entry.path.name
    return name if _fits_a_disk(name) else hashlib.sha256(name.encode()).hexdigest()[:16]


def _fits_a_disk(name: str) -> bool:
    return len(name.encode()) <= MAX_NAME_BYTES and all(unicodedata.category(character) != "Cc" for character in name)
