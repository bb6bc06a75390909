"""MNIST and CIFAR-10 in their published files, from a folder of the user's. Nothing is downloaded, and no pickle is read.

MNIST: `*-images-idx3-ubyte` with `*-labels-idx1-ubyte`, packed with gzip (`.gz`) or not. CIFAR-10: the "binary version",
`*_batch*.bin`, records of one label and 3 x 32 x 32 pixels.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
LARGEST = 500_000_000  # bytes of one file, unpacked
CIFAR_RECORD = 1 + 3 * 32 * 32


def images(folder: Path) -> tuple[Bytes, Bytes]:
    """Pixels (n, d) in 0 ... 255 and labels (n,), training images first where the folder holds both parts.

    Raises:
        ValueError: none of these files, or one that is not what its name says.
    """
    found = _mnist(folder) or _cifar(folder)
    if not found:
        raise ValueError(
            f"{folder} holds neither MNIST (*-images-idx3-ubyte, *-labels-idx1-ubyte, also .gz) nor CIFAR-10 in its "
            "binary version (*_batch*.bin)"
        )
    if len({pixels.shape[1] for pixels, _ in found}) > 1:
        raise ValueError(f"{folder} holds images of different sizes")
    return np.concatenate([pixels for pixels, _ in found]), np.concatenate([labels for _, labels in found])


def _mnist(folder: Path) -> list[tuple[Bytes, Bytes]]:
    found = []
    for file in sorted(folder.glob("*-images-idx3-ubyte*"), key=lambda f: (not f.name.startswith("train"), f.name)):
        labels_file = file.with_name(file.name.replace("-images-idx3-", "-labels-idx1-"))
        if not labels_file.is_file():
            raise ValueError(f"{file} needs {labels_file.name} beside it")
        pixels, labels = _idx(file, 3), _idx(labels_file, 1)
        if len(pixels) != len(labels):
            raise ValueError(f"{file} holds {len(pixels)} images, but {labels_file.name} {len(labels)} labels")
        found.append((pixels.reshape(len(pixels), -1), labels))
    return found


def _cifar(folder: Path) -> list[tuple[Bytes, Bytes]]:
    found = []
    for file in sorted(folder.glob("*_batch*.bin"), key=lambda f: (not f.name.startswith("data"), f.name)):
        content = _content(file)
        if not content.size or content.size % CIFAR_RECORD:
            raise ValueError(f"{file} is not made of CIFAR-10 records of {CIFAR_RECORD} bytes")
        records = content.reshape(-1, CIFAR_RECORD)
        found.append((records[:, 1:], records[:, 0]))
    return found


def _idx(file: Path, axes: int) -> Bytes:
    """An array of bytes in IDX format: two zeros, the type 8, the number of axes, its lengths (big-endian), the values."""
    content, header = _content(file), 4 + 4 * axes
    lengths = content[4:header].tobytes()
    if content.size < header or content[:4].tolist() != [0, 0, 8, axes]:
        raise ValueError(f"{file} is not an IDX file of bytes with {axes} axes")
    shape = np.frombuffer(lengths, ">u4").astype(np.int64)
    if content.size - header != shape.prod():
        raise ValueError(f"{file} promises {' x '.join(map(str, shape))} bytes, but holds {content.size - header}")
    return content[header:].reshape(shape)


def _content(file: Path) -> Bytes:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
    except (OSError, EOFError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if len(content) > LARGEST:
        raise ValueError(f"{file} holds more than {LARGEST:,} bytes")
    return np.frombuffer(content, np.uint8)
