"""Header of the IDX format, and names of MNIST's four files."""

import struct

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
UINT8, INT32 = 0x08, 0x0C  # the element types used by MNIST and its variants


def header_bytes(dimensions: int) -> int:
    return 4 + 4 * dimensions


def shape_of(header: bytes, dimensions: int, kind: int = UINT8) -> tuple[int, ...] | None:
    """Return the shape that an IDX file's header states.

    None if the header is not of this kind and number of dimensions.
    """
    if len(header) < header_bytes(dimensions) or header[:4] != bytes([0, 0, kind, dimensions]):
        return None
    return struct.unpack_from(f">{dimensions}I", header, 4)
