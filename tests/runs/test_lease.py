from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tksbench.process import process_start, this_machine
from tksbench.runs import Lease, LeaseHeld, LeaseLost, LedgerError, RunDir, read_holder
from tksbench.runs import lease as lease_module
from tksbench.runs.lease import Holder

_HOLD = """
import sys, time
from pathlib import Path
from tksbench.runs import Lease, RunDir
Lease.acquire(RunDir(Path(sys.argv[1])))
print("held", flush=True)
time.sleep(60)
"""
_COMPETE = """
import sys, time
from pathlib import Path
from tksbench.runs import Lease, LeaseHeld, RunDir
print("ready", flush=True)
sys.stdin.readline()
try:
    Lease.acquire(RunDir(Path(sys.argv[1])))
    print("won", flush=True)
    time.sleep(60)
except LeaseHeld:
    print("held", flush=True)
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "0123456789abcdef")


def _child(code: str, run_dir: RunDir) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, str(run_dir.path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _say(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def _elsewhere(run_dir: RunDir, **change: object) -> Path:
    """Make the newest lease look as if it was taken on another machine."""
    path = max(run_dir.leases.iterdir(), key=lambda path: int(path.stem))
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another boot", "host": "far", **change}))
    return path


def test_a_live_holder_keeps_others_out(run_dir: RunDir) -> None:
    with Lease.acquire(run_dir), pytest.raises(LeaseHeld, match=f"process {os.getpid()}"):
        Lease.acquire(run_dir)


def test_a_released_lease_can_be_taken(run_dir: RunDir) -> None:
    Lease.acquire(run_dir).release()
    with Lease.acquire(run_dir) as lease:
        assert lease.number == 2


def test_a_killed_holder_is_followed_at_once(run_dir: RunDir) -> None:
    child = _child(_HOLD, run_dir)
    assert _say(child) == "held"
    with pytest.raises(LeaseHeld):
        Lease.acquire(run_dir)
    child.kill()
    child.wait()
    Lease.acquire(run_dir, takeover_s=1e6).release()


def test_a_stopped_holder_counts_as_alive(run_dir: RunDir) -> None:
    child = _child(_HOLD, run_dir)
    assert _say(child) == "held"
    child.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(LeaseHeld):
            Lease.acquire(run_dir)
    finally:
        child.kill()
        child.wait()


def test_a_reused_process_id_does_not_keep_a_lease(run_dir: RunDir) -> None:
    Lease.acquire(run_dir).release()
    path = run_dir.leases / "1.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "released": False, "started": "1"}))
    Lease.acquire(run_dir, takeover_s=1e6).release()


def test_one_of_many_contenders_for_a_dead_holders_run_wins(run_dir: RunDir) -> None:
    holder = _child(_HOLD, run_dir)
    assert _say(holder) == "held"
    holder.kill()
    holder.wait()
    children = [_child(_COMPETE, run_dir) for _ in range(4)]
    try:
        assert [_say(child) for child in children] == ["ready"] * 4
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        assert sorted(_say(child) for child in children) == ["held", "held", "held", "won"]
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_a_beating_holder_elsewhere_keeps_its_lease(run_dir: RunDir) -> None:
    Lease.acquire(run_dir).release()
    path = _elsewhere(run_dir, released=False)
    beat = threading.Timer(0.05, _elsewhere, [run_dir], {"released": False, "beat": 7})
    beat.start()
    with pytest.raises(LeaseHeld, match="held by far"):
        Lease.acquire(run_dir, takeover_s=60)
    beat.join()
    assert path.name == "1.json"


def test_a_silent_holder_elsewhere_is_followed(run_dir: RunDir) -> None:
    Lease.acquire(run_dir).release()
    _elsewhere(run_dir, released=False)
    with Lease.acquire(run_dir, takeover_s=0.05) as lease:
        assert lease.number == 2


def test_a_cut_lease_file_is_watched_like_one_from_elsewhere(run_dir: RunDir) -> None:
    run_dir.leases.mkdir(parents=True)
    (run_dir.leases / "1.json").write_bytes(b"")
    with Lease.acquire(run_dir, takeover_s=0.05) as lease:
        assert lease.number == 2


def test_the_heart_beats(run_dir: RunDir) -> None:
    with Lease.acquire(run_dir, beat_s=0.01):
        first = read_holder(run_dir)
        deadline = time.monotonic() + 10
        while read_holder(run_dir) == first and time.monotonic() < deadline:
            time.sleep(0.01)
        second = read_holder(run_dir)
        assert first and second and first.raw != second.raw
        assert len(first.raw) == len(second.raw)


def test_a_holder_that_was_followed_notices(run_dir: RunDir) -> None:
    with Lease.acquire(run_dir) as lease:
        lease.check()
        (run_dir.leases / "2.json").touch()
        with pytest.raises(LeaseLost):
            lease.check()


def test_acquiring_removes_half_written_files(run_dir: RunDir) -> None:
    run_dir.path.mkdir()
    leftover = run_dir.path / ".record.json.0123456789ab.tmp"
    leftover.touch()
    Lease.acquire(run_dir).release()
    assert not leftover.exists()


def test_a_forked_child_does_not_release_its_parents_lease(run_dir: RunDir) -> None:
    with Lease.acquire(run_dir) as lease:
        child = os.fork()
        if child == 0:
            lease.release()
            os._exit(0)
        os.waitpid(child, 0)
        holder = read_holder(run_dir)
        assert holder and holder.alive


def test_a_zombie_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(child.pid) == ""
    child.wait()
    assert process_start(os.getpid()).isdecimal()


def test_a_process_whose_name_is_no_text_is_known_all_the_same() -> None:
    name = Path("/proc/self/comm")
    before, start = name.read_bytes(), process_start(os.getpid())
    name.write_bytes("fourteen bytesµ".encode())  # of which the kernel keeps 15
    try:
        assert process_start(os.getpid()) == start
    finally:
        name.write_bytes(before.rstrip(b"\n"))


def test_a_lease_file_says_who_holds_it(run_dir: RunDir) -> None:
    with Lease.acquire(run_dir) as lease:
        raw = lease.path.read_bytes()
        assert json.loads(raw) == {
            "host": platform.node(),
            "machine": this_machine(),
            "pid": os.getpid(),
            "started": process_start(os.getpid()),
            "beat": 0,
            "released": False,
        }
        assert len(raw) == 512
        assert raw.endswith(b" \n")
    assert json.loads(lease.path.read_bytes())["released"] is True


def test_a_holder_is_called_by_host_and_process(run_dir: RunDir) -> None:
    with Lease.acquire(run_dir):
        assert str(read_holder(run_dir)) == f"{platform.node()}, process {os.getpid()}"


def test_a_run_that_nobody_held_has_no_holder(run_dir: RunDir) -> None:
    assert read_holder(run_dir) is None


def test_the_newest_lease_counts_by_number(run_dir: RunDir) -> None:
    for _ in range(11):
        Lease.acquire(run_dir).release()
    (run_dir.leases / "note.json").touch()
    holder = read_holder(run_dir)
    assert holder is not None
    assert holder.number == 11


def test_every_beat_differs_and_the_lease_stays_held(run_dir: RunDir) -> None:
    with Lease.acquire(run_dir, beat_s=0.01):
        seen: set[int] = set()
        deadline = time.monotonic() + 10
        while len(seen) < 4 and time.monotonic() < deadline:
            content = json.loads((run_dir.leases / "1.json").read_text())
            assert content["released"] is False
            seen.add(content["beat"])
        assert len(seen) == 4
        assert min(seen) >= 0


def test_a_beat_that_fails_is_not_the_last(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    write, failed = os.pwrite, [0]

    def failing(descriptor: int, content: bytes, place: int) -> int:
        if failed[0] < 2:
            failed[0] += 1
            raise OSError(28, "No space left on device")
        return write(descriptor, content, place)

    with Lease.acquire(run_dir, beat_s=0.01):
        monkeypatch.setattr("os.pwrite", failing)
        deadline = time.monotonic() + 10
        while json.loads((run_dir.leases / "1.json").read_text())["beat"] < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert json.loads((run_dir.leases / "1.json").read_text())["beat"] >= 3
        monkeypatch.undo()


def test_the_heart_does_not_keep_a_process_alive(run_dir: RunDir) -> None:
    code = _HOLD.replace("time.sleep(60)", "")  # ends without a release
    done = subprocess.run([sys.executable, "-c", code, str(run_dir.path)], capture_output=True, timeout=60)
    assert done.returncode == 0
    holder = read_holder(run_dir)
    assert holder is not None
    assert holder.alive is False


def test_releasing_twice_is_harmless(run_dir: RunDir) -> None:
    lease = Lease.acquire(run_dir)
    lease.release()
    Lease.acquire(run_dir).release()
    lease.release()
    with Lease.acquire(run_dir) as third:
        assert third.number == 3


def test_a_lost_lease_names_the_run(run_dir: RunDir) -> None:
    with Lease.acquire(run_dir) as lease:
        (run_dir.leases / "2.json").touch()
        with pytest.raises(LeaseLost, match=f"^{run_dir.path}: the lease was taken over while this process was"):
            lease.check()


def test_a_held_lease_names_run_and_holder(run_dir: RunDir) -> None:
    with Lease.acquire(run_dir), pytest.raises(LeaseHeld) as caught:
        Lease.acquire(run_dir)
    assert str(caught.value) == f"{run_dir.path}: held by {platform.node()}, process {os.getpid()}"


def test_leases_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run_dir = RunDir(tmp_path / "file")
    with pytest.raises(LedgerError, match=f"^{run_dir.leases}: cannot be used: Not a directory$"):
        Lease.acquire(run_dir)


def test_leases_that_are_no_folder_are_named(run_dir: RunDir) -> None:
    run_dir.path.mkdir(parents=True, exist_ok=True)
    run_dir.leases.touch()
    with pytest.raises(LedgerError, match=f"^{run_dir.leases}: cannot be used: Not a directory$"):
        read_holder(run_dir)


def test_a_folder_in_a_leases_place_is_named(run_dir: RunDir) -> None:
    folder = run_dir.leases / "1.json"
    folder.mkdir(parents=True)
    told = f"^{folder}: expected a lease, a small file, and is a folder; remove it$"
    with pytest.raises(LedgerError, match=told):
        read_holder(run_dir)
    with pytest.raises(LedgerError, match=told):
        Lease.acquire(run_dir)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"host": "a"}', b"[" * 100_000, b'{"host": "a", "machine": "b", "pid": "x"}'],
)
def test_a_holder_of_whom_nothing_is_known(run_dir: RunDir, content: bytes) -> None:
    run_dir.leases.mkdir(parents=True)
    (run_dir.leases / "1.json").write_bytes(content)
    holder = read_holder(run_dir)
    assert holder == Holder(1, content)
    assert str(holder) == "an unknown host"
    assert holder.alive is None


def test_a_silent_holder_elsewhere_is_watched_for_the_whole_time(run_dir: RunDir) -> None:
    Lease.acquire(run_dir).release()
    _elsewhere(run_dir, released=False)
    began = time.monotonic()
    Lease.acquire(run_dir, takeover_s=0.4).release()
    assert 0.4 <= time.monotonic() - began < 5


def test_a_holder_elsewhere_that_gives_back_is_followed_at_once(run_dir: RunDir) -> None:
    Lease.acquire(run_dir).release()
    _elsewhere(run_dir)
    Lease.acquire(run_dir, takeover_s=1e6).release()


def test_a_lease_that_a_full_disk_does_not_take_is_taken_back(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    Lease.acquire(run_dir).release()
    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        with pytest.raises(LedgerError, match=r"leases: cannot be used: No space left on device$"):
            Lease.acquire(run_dir)
    with Lease.acquire(run_dir, takeover_s=1e6) as lease:
        assert lease.number == 2


@pytest.mark.parametrize("moment", ["fsync", "start", "remove_temporaries"])
def test_a_signal_while_the_lease_is_taken_gives_it_back(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    owner = {"fsync": os, "start": threading.Thread, "remove_temporaries": lease_module}[moment]
    monkeypatch.setattr(owner, moment, stop)
    with pytest.raises(KeyboardInterrupt):
        Lease.acquire(run_dir)
    monkeypatch.undo()
    holder = read_holder(run_dir)
    assert holder is None or holder.alive is False
    Lease.acquire(run_dir, takeover_s=0.0).release()


def test_a_lease_that_is_taken_back_while_it_is_watched_is_not_waited_for(run_dir: RunDir) -> None:
    run_dir.leases.mkdir(parents=True)
    (run_dir.leases / "1.json").touch()
    threading.Timer(0.2, (run_dir.leases / "1.json").unlink).start()
    with Lease.acquire(run_dir, takeover_s=60) as lease:
        assert lease.number == 1


def test_a_lease_that_is_taken_back_while_it_is_read_is_passed_over(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lease.acquire(run_dir).release()
    monkeypatch.setattr("tksbench.runs.lease._numbers", lambda _: [1, 2])
    holder = read_holder(run_dir)
    assert holder is not None
    assert holder.number == 1


def test_the_heart_is_a_thread_that_ends_with_its_process(run_dir: RunDir) -> None:
    with Lease.acquire(run_dir):
        (heart,) = [thread for thread in threading.enumerate() if thread.name == "lease"]
        assert heart.daemon
    assert not heart.is_alive()


def test_a_lease_file_is_no_program(run_dir: RunDir) -> None:
    with Lease.acquire(run_dir) as lease:
        assert lease.path.stat().st_mode & 0o133 == 0


def test_whoever_comes_second_to_a_number_looks_again(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    Lease.acquire(run_dir).release()
    seen = iter([None])  # as if the first lease had been taken since
    monkeypatch.setattr("tksbench.runs.lease.read_holder", lambda at: next(seen, read_holder(at)))
    with Lease.acquire(run_dir) as lease:
        assert lease.number == 2
