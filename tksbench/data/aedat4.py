"""The events of AEDAT 4 files, decoded by the `aedat` package in a process of its own.

Some damaged files end the process that decodes them (a panic in Rust while another is under way), and compressed ones
may unpack to any size. So one process decodes for this one, file after file, with limits on memory and time; when it
dies, the file is named and the next one gets a new process.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tksbench.errors import TksbenchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

EVENT = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])
LIMIT_S = 60  # seconds of processor time for a file
ROOM = (1 << 29, 64)  # bytes that a file may take at any rate, and times its size besides


class DecodeError(TksbenchError):
    """The file is no AEDAT 4 file, or a damaged one."""


class Decoder:
    """The process that decodes; it is started with the first file and ends with this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def events(self, path: Path) -> NDArray[np.void]:
        """All events of a file's first event stream, as `EVENT`.

        Raises:
            DecodeError: There is none, or the file cannot be decoded.
        """
        with self._lock:
            child = self._running()
            assert child.stdin is not None and child.stdout is not None  # noqa: S101 - both are pipes
            try:
                child.stdin.write(json.dumps(str(path.absolute())).encode() + b"\n")
                child.stdin.flush()
                answer = child.stdout.readline()
                if answer.endswith(b"\n"):
                    told = json.loads(answer)
                    if "error" in told:
                        raise DecodeError(told["error"])
                    content = child.stdout.read(told["bytes"])
                    if len(content) == told["bytes"]:
                        return np.frombuffer(content, EVENT)
            except BrokenPipeError:
                pass
            self.close()
            raise DecodeError("the decoder gave it up")

    def close(self) -> None:
        """End the process."""
        if self._child is not None and self._pid == os.getpid():
            self._child.kill()
            self._child.communicate()
        self._child = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._pid != os.getpid():  # a forked process has one of its own
            root = str(Path(__file__).resolve().parents[2])
            paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tksbench.data.aedat4"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": paths},
            )
            self._pid = os.getpid()
        return self._child


DECODER = Decoder()
atexit.register(DECODER.close)


def decode(path: str) -> NDArray[np.void]:
    """Decode a file in this process, which does not survive every file."""
    import aedat

    decoder = aedat.Decoder(path)
    streams = [number for number, stream in decoder.id_to_stream().items() if stream["type"] == "events"]
    if not streams:
        raise ValueError("it has no stream of events")
    packets = [packet["events"] for packet in decoder if packet["stream_id"] == min(streams)]
    found = np.zeros(sum(map(len, packets)), EVENT)
    for name in EVENT.names or ():
        if packets:
            found[name] = np.concatenate([packet[name] for packet in packets])
    return found


def _limit(path: str) -> None:
    """Let this file take a bounded share of memory and time."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + ROOM[0] + ROOM[1] * Path(path).stat().st_size
    used = resource.getrusage(resource.RUSAGE_SELF)
    for what, soft in (
        (resource.RLIMIT_AS, room),
        (resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + LIMIT_S),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def serve() -> None:
    """Answer each path on standard input: a line of JSON, then the events."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may come between the answers
    for line in sys.stdin.buffer:
        path = json.loads(line)
        content, told = b"", dict[str, Any]()
        try:
            _limit(path)
            content = decode(path).tobytes()
            told = {"bytes": len(content)}
        except BaseException as error:  # a fault in the file makes the package panic in Rust, which is no Exception
            told = {"error": " ".join(str(error).split())[:200] or type(error).__name__}
        out.write(json.dumps(told).encode() + b"\n" + content)
        out.flush()


if __name__ == "__main__":
    serve()
