import gzip
import struct

import numpy as np
import pytest

from tameshi.specimens.image_files import images
from tameshi.specimens.labelled import Labelled


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


PIXELS = np.arange(6 * 2 * 3, dtype=np.uint8).reshape(6, 2, 3)
LABELS = np.array([3, 8, 3, 8, 3, 8], np.uint8)


def test_mnist_is_read_with_its_training_part_first_packed_or_not(tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(PIXELS[4:]))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS[4:]))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS[:4])))
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[:4])))
    pixels, labels = images(tmp_path)
    assert (pixels == PIXELS.reshape(6, 6)).all()
    assert (labels == LABELS).all()
    table = Labelled.open(str(tmp_path))
    assert table.examples().inputs == pytest.approx(PIXELS.reshape(6, 6) / 255)
    assert table.pair("3-8").labels.tolist() == ["3", "8"] * 3


def test_cifar_is_read_with_its_training_part_first(tmp_path):
    records = np.random.default_rng(0).integers(256, size=(5, 3073), dtype=np.uint8)
    (tmp_path / "test_batch.bin").write_bytes(records[3:].tobytes())
    (tmp_path / "data_batch_1.bin").write_bytes(records[:3].tobytes())
    pixels, labels = images(tmp_path)
    assert (pixels == records[:, 1:]).all()
    assert (labels == records[:, 0]).all()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds neither MNIST .* nor CIFAR-10"),
        ({"train-images-idx3-ubyte": idx(PIXELS)}, "needs train-labels-idx1-ubyte beside it"),
        (
            {"train-images-idx3-ubyte": idx(PIXELS), "train-labels-idx1-ubyte": idx(LABELS[1:])},
            "holds 6 images, but train-labels-idx1-ubyte 5 labels",
        ),
        (
            {"train-images-idx3-ubyte": idx(PIXELS)[:-1], "train-labels-idx1-ubyte": idx(LABELS)},
            "promises 6 x 2 x 3 bytes, but holds 35",
        ),
        ({"train-images-idx3-ubyte": b"\0\0", "train-labels-idx1-ubyte": idx(LABELS)}, "not an IDX file of bytes"),
        ({"train-images-idx3-ubyte.gz": b"no", "train-labels-idx1-ubyte.gz": b""}, "cannot be read"),
        ({"data_batch_1.bin": b"\0" * 3072}, "not made of CIFAR-10 records"),
    ],
)
def test_files_that_are_not_what_their_name_says_are_refused(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Labelled.open(str(tmp_path))
