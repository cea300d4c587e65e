"""Write data sets' files with few images, in their true formats."""

import gzip
import hashlib
import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping

import numpy as np
from PIL import Image


def idx(values: np.ndarray, kind: int = 0x08) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, kind, values.ndim, *values.shape) + values.tobytes()


def tar(files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def tar_gz(files: Mapping[str, bytes]) -> bytes:
    return gzip.compress(tar(files))


def tar_header(kind: bytes, content: bytes = b"", size: int | None = None) -> bytes:
    """A header of a tar before a member, with what it announces."""
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, len(content) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def pax_record(keyword: str, value: str) -> bytes:
    """A line of a pax header, which begins with its own length."""
    length = len(f" {keyword}={value}\n".encode())
    whole = length + len(str(length + len(str(length))))
    return f"{whole} {keyword}={value}\n".encode()


def zipped(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (grey,) * 3).save(file, "PNG")
    return file.getvalue()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()
