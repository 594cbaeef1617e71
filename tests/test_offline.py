"""At run time nothing asks the network: only `data prepare` may."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Every Python process of the commands reads this first: whoever asks for a name or leaves the machine is noted.
GUARD = """\
import socket

def _refused(what):
    with open({note!r}, "a") as file:
        file.write(f"{{what}}\\n")
    raise OSError("no network at run time")

_connect = socket.socket.connect

def connect(self, address):
    return _connect(self, address) if self.family == socket.AF_UNIX else _refused(address)

socket.socket.connect = socket.socket.connect_ex = connect
socket.getaddrinfo = lambda host, *_, **__: _refused(host)
"""


def test_a_smoke_run_and_its_tables_ask_no_network(tmp_path: Path) -> None:
    note = tmp_path / "asked"
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD.format(note=str(note)))
    (tmp_path / "data").mkdir()
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "guard"), str(ROOT)]),
        "TKSBENCH_DATA": str(tmp_path / "data"),
        "TKSBENCH_RESULTS": str(tmp_path / "results"),
    }

    def command(*words: str) -> int:
        return subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, timeout=500).returncode

    probe = "import socket; socket.create_connection(('localhost', 9))"
    assert command("-c", probe) == 1 and note.read_text() == "localhost\n"  # the guard sees it
    note.unlink()
    short = ("optim.epochs=1", "optim.warmup_epochs=0", "data.train_subset=64", "data.test_subset=20")
    launch = ("-m", "tksbench.launch", "recipes/cifar10.yaml", "--scale", "smoke", "--only", "*/baseline", *short)
    assert command(*launch) == 0
    assert list((tmp_path / "results" / "runs").glob("*/record.json"))
    assert command("-m", "tksbench.tables", "table1") == 0
    assert not note.exists()
