"""The images of one half of ImageNet in order, and the index file that saves every start from listing them.

`ILSVRC2012/train.index` lies beside `train/`. Its first line is

    tksbench-imagenet-index 1 PACKING COUNT sha256:SUM_OF_THE_OTHER_LINES

and then each image has a line, in the order of timm's folder reader. PACKING says what the lines are:

    folders  SYNSET/FILE
    flat     SYNSET/FILE                              (train/FILE)
    tars     SYNSET/FILE <tab> OFFSET <tab> SIZE      (the bytes of FILE in train/SYNSET.tar)
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, cast

from tksbench.atomic import replacing
from tksbench.data.errors import DataError
from tksbench.data.files import read_file
from tksbench.data.places import is_image, is_left_behind
from tksbench.data.tars import members, read_member

if TYPE_CHECKING:
    from collections.abc import Iterable

Packing = Literal["folders", "tars", "flat"]

COMMAND = "`python -m tksbench.data prepare imagenet`"
_FORMAT = "tksbench-imagenet-index"
_FIRST_LINE = re.compile(rb"1 (folders|tars|flat) ([0-9]{1,18}) sha256:([0-9a-f]{64})")
_SEPARATORS = {"folders": b"/\n", "flat": b"/\n", "tars": b"/\t\t\n"}  # of one line


class ImageList:
    """The images of one half, in order.

    It is kept as the one text it is read from: no million objects whose reference counts every worker would
    touch, and so copy.

    Attributes:
        folder: `train` or `val`: holds the synset folders or tars, or all images.
        packing: Which of these.
    """

    def __init__(self, folder: Path, packing: Packing, text: bytes, source: Path) -> None:
        """Take the lines of an index.

        Args:
            folder: Holds the synset folders or tars, or all images.
            packing: Which of these.
            text: The lines, in order.
            source: Where the lines are from: an index, or `folder` itself.

        Raises:
            DataError: A line has another form.
        """
        import numpy as np

        self.folder, self.packing, self._text, self._source = folder, packing, text, source
        characters = np.frombuffer(text, dtype=np.uint8)
        separators = np.frombuffer(_SEPARATORS[packing], dtype=np.uint8)
        places = np.flatnonzero((characters == ord("/")) | (characters == ord("\t")) | (characters == ord("\n")))
        if not (
            text[-1:] in (b"", b"\n")
            and len(places) % len(separators) == 0
            and (characters[places].reshape(-1, len(separators)) == separators).all()
            and (np.diff(places, prepend=-1) > 1).all()  # no field is empty
            and b"../" not in text
        ):
            advice = "give the file another name" if source == folder else f"{COMMAND} renews it"
            raise DataError(f"{source}: {_first_odd(text, packing)}; {advice}")
        line_ends = places[len(separators) - 1 :: len(separators)]
        self._starts = np.concatenate([[0], line_ends + 1])

    def __len__(self) -> int:
        """Number of images."""
        return len(self._starts) - 1

    def names(self) -> list[str]:
        """SYNSET/FILE of every image."""
        return [line.partition("\t")[0] for line in os.fsdecode(self._text).split("\n")[:-1]]

    def index(self) -> bytes:
        """The index file of these images."""
        digest = hashlib.sha256(self._text).hexdigest()
        return f"{_FORMAT} 1 {self.packing} {len(self)} sha256:{digest}\n".encode() + self._text

    def read(self, index: int) -> tuple[bytes, str]:
        """Read the file of one image.

        Args:
            index: Which image.

        Returns:
            The file's bytes, and where they are from, for messages.

        Raises:
            DataError: The file is not there.
        """
        name, *place = os.fsdecode(self._text[self._starts[index] : self._starts[index + 1] - 1]).split("\t")
        synset, _, file = name.partition("/")
        path = self.folder / (f"{synset}.tar" if place else file if self.packing == "flat" else name)
        try:
            if not place:
                return path.read_bytes(), str(path)
            offset, size = map(int, place)
            return read_member(str(path), file, offset, size), f"{path}: {file}"
        except (FileNotFoundError, NotADirectoryError, DataError, ValueError) as error:
            what = f"{path}: no such file" if isinstance(error, OSError) else error
            listed = ";" if self._source == self.folder else f", but {self._source} lists it: {COMMAND} renews it, or"
            raise DataError(f"{what}{listed} restore it") from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _first_odd(text: bytes, packing: Packing) -> str:
    """Say which line has another form."""
    fields = rb"\t[^/\t]+\t[^/\t]+" if packing == "tars" else rb""
    pattern = re.compile(rb"(?!\.\./)[^/\t]+/[^/\t]+" + fields)
    lines = text.removesuffix(b"\n").split(b"\n")
    number = next((number for number, line in enumerate(lines, start=1) if not pattern.fullmatch(line)), len(lines))
    form = "SYNSET/FILE, OFFSET and SIZE, set apart by tabs" if packing == "tars" else "SYNSET/FILE"
    return f"image {number}: {lines[number - 1].decode(errors='replace')!r} is not {form}"


def index_path(folder: Path) -> Path:
    """Where the index of `train` or `val` lies: beside it, as `train.index` or `val.index`."""
    return folder.with_name(f"{folder.name}.index")


def find_synsets(folder: Path) -> tuple[Packing, list[Path]]:
    """Find the synset folders or tars of one half; folders count before tars, and tars before images beside them.

    Returns:
        How the half is packed, and its folders or tars; of images in one folder, that folder.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found if not is_left_behind(entry.name))
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror or error}") from error
    folders = [folder / name for name, is_folder in entries if is_folder]
    # A compressed tar is found, too: reading it says why it cannot be used.
    tars = [folder / name for name, _ in entries if name.endswith(".tgz") or ".tar" in Path(name).suffixes]
    if tars and not folders:
        return "tars", tars
    if not folders and any(is_image(name) for name, _ in entries):
        return "flat", [folder]
    return "folders", folders


def list_files(packing: Packing, synsets: Iterable[Path]) -> dict[str, list[str]]:
    """List the images of one half, in no special order.

    Args:
        packing: How it is packed.
        synsets: Its folders or tars, see `find_synsets`.

    Returns:
        The lines of an index for each synset; none for a folder or tar without images.

    Raises:
        DataError: A folder cannot be read, a tar cannot be used, or images in one folder cannot be sorted.
    """
    if packing == "tars":
        return {tar.stem: _tar_lines(tar) for tar in synsets}
    if packing == "flat":
        (half,) = synsets
        return _flat_lines(half)
    return {folder.name: [f"{folder.name}/{file}" for file in _images_in(folder)] for folder in synsets}


def _images_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as files:
            return [file.name for file in files if is_image(file.name)]
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror or error}") from error


def _flat_lines(half: Path) -> dict[str, list[str]]:
    from tksbench.data.imagenet_flat import synsets_of

    known: dict[str, str] = {}
    with suppress(DataError):  # a damaged index says nothing
        if (indexed := read_index(half)) is not None and indexed.packing == "flat":
            known = {file: synset for synset, _, file in (name.partition("/") for name in indexed.names())}
    lines = defaultdict[str, list[str]](list)
    for file, synset in synsets_of(half, _images_in(half), known).items():
        lines[synset].append(f"{synset}/{file}")
    return dict(lines)


def _tar_lines(tar: Path) -> list[str]:
    lines = {}
    for member in members(tar):
        path = PurePosixPath(member.name)
        if not is_image(path.name):
            continue
        if str(path.parent) not in (".", tar.stem):
            raise DataError(f"{tar}: member {member.name!r} is neither FILE nor {tar.stem}/FILE")
        if path.name in lines:
            raise DataError(f"{tar}: holds {path.name!r} twice")
        lines[path.name] = f"{tar.stem}/{path.name}\t{member.offset}\t{member.size}"
    return list(lines.values())


def natural(name: str) -> list[str | int]:
    """The sort key of timm's reader, which takes digits for numbers."""
    from timm.utils.misc import natural_key

    return cast("list[str | int]", natural_key(name))  # type: ignore[no-untyped-call]


def listed(folder: Path, packing: Packing, lines: Iterable[str]) -> ImageList:
    """Put the lines of `list_files` in the order of timm's folder reader.

    Raises:
        DataError: A name holds a tab or a newline.
    """
    in_order = sorted(lines, key=lambda line: (natural(line.partition("\t")[0]), line))
    return ImageList(folder, packing, os.fsencode("".join(f"{line}\n" for line in in_order)), folder)


def write_index(images: ImageList) -> None:
    """Write the index of one half, atomically.

    Raises:
        DataError: The file cannot be written.
    """
    path = index_path(images.folder)
    try:
        with replacing(path) as file:
            file.write(images.index())
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}). Where ImageNet is shared and read-only, make "
            f"{path.parent.name} a folder of your own, with links to its train and val"
        ) from error


def read_index(folder: Path) -> ImageList | None:
    """Read the index of one half.

    Returns:
        The images; None where there is no index.

    Raises:
        DataError: The index is damaged or of another version.
    """
    path = index_path(folder)
    if not path.exists():
        return None
    first, _, text = read_file(path).partition(b"\n")
    name, _, rest = first.partition(b" ")
    found = _FIRST_LINE.fullmatch(rest)
    if name != _FORMAT.encode() or not found:
        shown = first[:60].decode(errors="replace")
        raise DataError(f"{path}:1: {shown!r} does not begin an index of version 1; {COMMAND} renews it")
    packing, count, digest = cast("Packing", found[1].decode()), int(found[2]), found[3].decode()
    if hashlib.sha256(text).hexdigest() != digest:
        raise DataError(
            f"{path}: damaged: its lines have another SHA-256 than its first line says; {COMMAND} renews it"
        )
    images = ImageList(folder, packing, text, path)
    if len(images) != count:
        raise DataError(f"{path}: lists {len(images):,} images, but its first line says {count:,}; {COMMAND} renews it")
    return images
