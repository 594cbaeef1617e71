"""The record of a finished run: typed, small enough to commit, and all that tables are made of."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
import stat
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from tksbench.recipe import RunSpec, run_and_group_id
from tksbench.runs.errors import RecordError
from tksbench.runs.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SEAL = re.compile(rb',\n "seal": "([0-9a-f]{64})"\n\}\n\Z')
_SEAL_BYTES = 80  # of what the pattern matches, at the very end
MAX_BYTES = 20_000_000  # a record is some 50 kB; more is no record

Percent = Annotated[float, Field(ge=0, le=100)]
_ROUNDING = 1e-6  # means of many numbers may leave their range by this much
Fraction = Annotated[float, Field(ge=-_ROUNDING, le=1 + _ROUNDING)]
Loss = Annotated[float, Field(ge=-_ROUNDING)]  # a cross-entropy
Permille = Annotated[float, Field(ge=-_ROUNDING, le=1000 + 1000 * _ROUNDING)]
Count = Annotated[int, Field(ge=0)]
Hours = Annotated[float, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Metrics(_Part):
    """Test-set metrics after one epoch, all from the per-step logits.

    Accuracies are in percent, AURC is x 10^3 (unit of the paper's Table 3), epochs count from 0;
    `top1_prefix[k - 1]` uses the first k steps, `top1_step[t]` step t alone; `top1_halves` are two
    halves of the test samples alone. `top1_rebinned[k - 1]`, of event sets at the last epoch, is on recordings that
    were framed anew into k bins.

    Of a converted network `top1_over_time` pairs numbers of steps with the accuracy of so many first steps, and
    `top1_prefix` and `top1_step` have one value, that of all steps.
    """

    epoch: Count
    top1: Percent
    top5: Percent
    loss: Loss
    ece: Fraction
    aurc_logit: Permille
    aurc_softmax: Permille
    eaurc_logit: float
    eaurc_softmax: float
    top1_halves: list[Percent]
    top1_prefix: Annotated[list[Percent], Field(min_length=1)]
    top1_step: Annotated[list[Percent], Field(min_length=1)]
    top1_rebinned: list[Percent] | None = None
    first_step_recall: list[Percent | None]
    top1_over_time: Annotated[list[tuple[Count, Percent]] | None, Field(exclude_if=lambda value: value is None)] = None


class Curve(_Part):
    """Columns of the metrics log, one value an epoch; accuracy is null where it was not evaluated."""

    epoch: list[Count]
    lr: list[float]
    train_loss: list[float]
    train_top1: list[Percent]
    test_top1: list[Percent | None]
    test_top1_halves: list[list[Percent] | None]


class MetricsByChoice(_Part):
    """The last epoch's metrics and the best epoch's (picked on the test set, as the authors' code does)."""

    last: Metrics
    best: Metrics
    curve: Curve


class Test(_Part):
    """Which test samples were right, in the data set's order: what paired tests need."""

    __test__ = False  # not a pytest class

    n: Annotated[int, Field(gt=0)]
    correct_last: str
    correct_best: str

    @model_validator(mode="after")
    def _lengths(self) -> Test:
        for text in (self.correct_last, self.correct_best):
            _packed_bits(text, self.n)
        return self


class _Told(_Part):
    """History and origin: what a later version adds is kept, and stops no reader."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class Attempt(_Told):
    """A row of the attempts log.

    `dirty`, `code` and `patch` are of a start, as in `Provenance`; its `setup` is reduced to what is otherwise in the
    attempt that finished the run. `late`, of an end, names files that were written while the attempt loaded them.
    """

    event: Literal["start", "end"]
    time: str
    host: str = ""
    pid: int = 0
    job: str | None = None  # of Slurm
    commit: str | None = None  # that trained, of a start
    dirty: bool | None = None
    code: str | None = None
    patch: str | None = None
    setup: dict[str, Any] = Field(default_factory=dict)
    late: list[str] = Field(default_factory=list)
    outcome: str = ""
    reason: str = ""
    epoch: int = 0
    step: int = 0

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what a row does not say: a run may have hundreds."""
        said = ("dirty", "code", "patch", "setup", "late")
        return {key: value for key, value in handler(self).items() if key not in said or value not in (None, {}, [])}


class Cost(_Part):
    """What the run took, all attempts together, and what its network takes."""

    hours: Hours  # of training steps alone, which images_per_s is of too
    gpu_hours: Hours  # tests and checkpoints included; 0 on a CPU
    energy_kwh: Hours | None = None
    images_per_s: Hours | None = None
    device: str
    parameters: Count
    snn: dict[str, Any] | None = None

    @field_validator("snn")
    @classmethod
    def _counted(cls, snn: dict[str, Any] | None) -> dict[str, Any] | None:
        """What tables print of an inference is a number; the rest, such as the layers, is as it was measured."""
        if snn is None:
            return None
        for key in ("spike_rate", "macs", "synops", "energy_mj"):
            value = snn.get(key)
            if key == "spike_rate" and key in snn and value is None:  # a network whose neurons are analog
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"{key} is {value!r}, not a number of 0 or more")
        return snn


class Provenance(_Told):
    """Where the numbers come from; see `tksbench.runs.provenance`.

    `dirty` says whether it takes more than the commit, on such a machine with these packages, to make the run again:
    uncommitted changes, files from elsewhere, attempts of unlike code or under unlike conditions. `diff` names it all.
    `code` is the digest of the package's files that can change a result. `start` is the run that this one started from:
    its `id`, its `name`, and the hash of its weights.
    """

    commit: str | None = None
    dirty: bool | None = None
    code: str | None = None
    diff: str = ""
    versions: dict[str, str]
    python: str
    platform: str
    devices: list[str]
    threads: int | None = None
    processes: int = 1
    nodes: int = 1
    environment: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str] = Field(default_factory=dict)
    outside: dict[str, str] = Field(default_factory=dict)
    data: dict[str, str]
    start: Annotated[dict[str, str], Field(exclude_if=lambda value: not value)] = Field(default_factory=dict)
    command: str
    started: str
    finished: str


class Record(_Part):
    """One finished run."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    id: Id
    group: Id
    name: str
    recipe: str
    scale: str
    seed: int
    spec: SerializeAsAny[RunSpec]
    overrides: list[str] = Field(default_factory=list)
    metrics: MetricsByChoice
    test: Test
    attempts: list[Attempt]
    cost: Cost
    provenance: Provenance
    weights_sha256: Sha256
    files: dict[str, Sha256] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _identity(self) -> Record:
        run, group = run_and_group_id(self.spec)
        for what, stated, real in (("id", self.id, run), ("group", self.group, group)):
            if stated != real:
                raise ValueError(f"{what} is {stated}, but the spec hashes to {real}")
        if self.seed != self.spec.seed:
            raise ValueError(f"seed is {self.seed}, but the spec says {self.spec.seed}")
        return self

    def to_bytes(self) -> bytes:
        """The file's content, sealed by its checksum: the same record always gives the same bytes."""
        plain = self.model_dump(mode="json", by_alias=True)
        content = json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        return content.removesuffix(b"\n}\n") + b',\n "seal": "%b"\n}\n' % hashlib.sha256(content).hexdigest().encode()


def make_record(**parts: Any) -> Record:
    """Check the parts of a record (the keys of `Record`).

    Raises:
        RecordError: If they do not make one; every problem is named.
    """
    try:
        return Record.model_validate(parts)
    except ValidationError as error:
        raise RecordError(f"not a record: {_problems(error)}") from None


def is_attempt(row: dict[str, Any]) -> bool:
    """Whether a row of the attempts log can stand in a record; a damaged one cannot."""
    try:
        Attempt.model_validate(row)
    except ValidationError:
        return False
    return True


def load_record(path: Path) -> Record:
    """Read and check a record file.

    Raises:
        RecordError: If it is missing, cut, altered, of another schema, or not named after its run.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
            # A pipe would wait for ever, a link to /dev/zero fill the memory; reading a folder names itself.
            raise RecordError(f"{path}: a pipe or a device: not a record")
        if about.st_size > MAX_BYTES:
            raise RecordError(f"{path}: larger than {MAX_BYTES:,} bytes: not a record")
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        content, fits = _unseal(content)
        record = Record.model_validate_json(content)
    except ValidationError as error:
        raise RecordError(f"{path}: not a record: {_problems(error)}") from None
    if not fits:
        raise RecordError(f"{path}: its checksum does not match: the file was altered or damaged")
    owner = path.parent.name if path.name == "record.json" else path.stem
    if record.id != owner:
        raise RecordError(f"{path}: is the record of run {record.id}")
    return record


def save_record(path: Path, record: Record) -> None:
    """Write a record durably and atomically: from that moment the run is done.

    Raises:
        LedgerError: If it cannot be written.
    """
    write_bytes(path, record.to_bytes())


def pack_correct(correct: Iterable[bool]) -> str:
    """One bit a test sample (first sample in the highest bit, as `numpy.packbits`), in base64.

    >>> pack_correct([True, False, True])
    'oA=='
    """
    bits = "".join("1" if right else "0" for right in correct)
    size = -(-len(bits) // 8)
    return base64.b64encode(int(bits.ljust(size * 8, "0") or "0", 2).to_bytes(size, "big")).decode()


def unpack_correct(text: str, n: int) -> list[bool]:
    """Undo `pack_correct` for n samples.

    Raises:
        ValueError: If the text does not hold n bits.
    """
    data = _packed_bits(text, n)
    return [digit == "1" for digit in bin(int.from_bytes(b"\1" + data, "big"))[3 : 3 + n]]


def correct_bits(text: str) -> int:
    """What `pack_correct` made as one number of as many bits: quick to count and to compare.

    >>> bin(correct_bits('oA=='))
    '0b10100000'
    """
    return int.from_bytes(base64.b64decode(text))


def _packed_bits(text: str, n: int) -> bytes:
    """The bytes behind `pack_correct`'s text, of the right length for n samples."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("correct: not base64") from None
    if len(data) != -(-n // 8):
        raise ValueError(f"correct: holds {len(data) * 8} bits for {n} samples")
    return data


def _unseal(content: bytes) -> tuple[bytes, bool]:
    """The content without its seal, of whose bytes that is the SHA-256, and whether it fits.

    Records of earlier versions have none. Looking at bytes costs a hundredth of what parsing them twice would.
    """
    found = _SEAL.search(content, max(0, len(content) - _SEAL_BYTES))
    if found is None:
        return content, True
    content = content[: found.start()] + b"\n}\n"
    return content, hashlib.sha256(content).hexdigest().encode() == found[1]


def _problems(error: ValidationError) -> str:
    shown = [f"{'.'.join(map(str, item['loc'])) or 'record'}: {item['msg']}" for item in error.errors()[:5]]
    return "; ".join(shown) + ("; ..." if error.error_count() > 5 else "")
