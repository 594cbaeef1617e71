"""The reader of lists that say which synset each validation image of ImageNet is of."""

from __future__ import annotations

import functools
import io
import shutil
from pathlib import Path

import numpy as np

from tests.fuzz.reader import Reader, chosen, write_file
from tksbench.data.imagenet_flat import synsets_of

_SYNSETS = ("n01440764", "n01443537")
_KIT = "ILSVRC2012_devkit_t12/data"
_FILES = (
    "LOC_val_solution.csv",
    "imagenet_2012_validation_synset_labels.txt",
    "val.txt",
    f"{_KIT}/ILSVRC2012_validation_ground_truth.txt",
    f"{_KIT}/meta.mat",
)
_IMAGES = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 2)]


@functools.cache
def _texts() -> tuple[bytes, ...]:
    from scipy.io import savemat

    rows = np.array([(1, _SYNSETS[1]), (2, _SYNSETS[0])], dtype=[("ILSVRC2012_ID", object), ("WNID", object)])
    meta = io.BytesIO()
    savemat(meta, {"synsets": rows})
    kaggle = [f"{image[:-5]},{synset} 1 2 3 4 " for image, synset in zip(_IMAGES, _SYNSETS, strict=True)]
    caffe = [f"{image} {rank}" for rank, image in enumerate(_IMAGES)]
    lists = (["ImageId,PredictionString", *kaggle], _SYNSETS, caffe, ["2", "1"])
    return (*("\n".join(lines).encode() + b"\n" for lines in lists), meta.getvalue())


def _read(raw: bytes, folder: Path) -> object:
    name, content = chosen(raw, _FILES)
    for old in (*_FILES[:3], _KIT.partition("/")[0]):  # of the input before this one: the first list found is read
        path = folder / old
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if name.startswith(_KIT):
        for file, valid in zip(_FILES[3:], _texts()[3:], strict=True):
            write_file(folder, file, valid)
    for synset in _SYNSETS:
        (folder / "train" / synset).mkdir(parents=True, exist_ok=True)
    write_file(folder, name, content)
    return synsets_of(folder / "val", _IMAGES, {})


SYNSETS = Reader("synsets", lambda: [bytes([place]) + text for place, text in enumerate(_texts())], _read)
