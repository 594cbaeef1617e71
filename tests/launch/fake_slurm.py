"""Slurm's commands for a site of several clusters, each a link to this file: its queues are files in $FAKE_SLURM.

sbatch puts a job of one element on the last cluster that it is given; with FAKE_SLURM_RUN it also runs the script
there and then, and FAKE_SLURM_GREETING is what it prints around the job's number. Nothing is imported that takes time.
"""

import os
import subprocess
import sys

HOME, HERE = os.environ["FAKE_SLURM"], "login"
NAME, WORDS = os.path.basename(sys.argv[0]), sys.argv[1:]  # noqa: PTH119


def option(name: str, words: list[str], default: str = "") -> str:
    found = [word.partition("=")[2] for word in words if word.startswith(f"--{name}=")]
    return found[0].strip("'\"") if found else default


def note(text: str) -> None:
    with open(f"{HOME}/calls", "a") as file:  # noqa: PTH123
        file.write(text + "\n")


def lines(path: str) -> list[str]:
    try:
        with open(path) as file:  # noqa: PTH123
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def sbatch() -> None:
    head = [line.removeprefix("#SBATCH ") for line in lines(WORDS[-1]) if line.startswith("#SBATCH ")]
    cluster = (option("clusters", WORDS) or option("clusters", head, HERE)).split(",")[-1]
    number = 100 + len([line for line in lines(f"{HOME}/calls") if line.startswith("sbatch")])
    note(" ".join(["sbatch", *WORDS[:-1]]))
    size = int(option("array", head).partition("%")[0].partition("-")[2]) + 1
    ended = ""
    if "FAKE_SLURM_RUN" in os.environ:
        ids = {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": "0", "SLURM_JOB_ID": str(number)}
        environment = {**os.environ, **ids, "SLURM_RESTART_COUNT": "0", "SLURM_CPUS_PER_TASK": "1"}
        ended = str(subprocess.run(["bash", WORDS[-1]], env=environment, capture_output=True).returncode)
        note(f"ended {ended}")
    with open(f"{HOME}/queue.{cluster}", "a") as file:  # noqa: PTH123
        for index in [] if ended else range(size):
            file.write(f"{number}|{index}|PENDING|Priority|{option('job-name', head)}\n")
    answer = str(number) if cluster == HERE and not option("clusters", head) else f"{number};{cluster}"
    print(os.environ.get("FAKE_SLURM_GREETING", "%s").replace("%s", answer))  # noqa: T201


def squeue() -> None:
    named = option("clusters", WORDS)
    for cluster in named.split(",") if named else [HERE]:
        if named:
            print(f"CLUSTER: {cluster}")  # noqa: T201
        for line in lines(f"{HOME}/queue.{cluster}"):
            shown = option("format", WORDS, "%F|%K|%T|%r|%j")
            for letter, value in zip("FKTrj", line.split("|"), strict=True):
                shown = shown.replace(f"%{letter}", value)
            print(shown)  # noqa: T201


def scancel() -> None:
    note(" ".join(["scancel", *WORDS]))
    path = f"{HOME}/queue.{option('clusters', WORDS, HERE)}"
    left = [line for line in lines(path) if "_".join(line.split("|")[:2]) not in WORDS]
    with open(path, "w") as file:  # noqa: PTH123
        file.write("".join(f"{line}\n" for line in left))


def scontrol() -> None:
    note(" ".join(["scontrol", *WORDS]))
    if WORDS[-2:] == ["show", "config"]:
        print(f"MaxArraySize = {2 if option('clusters', WORDS) == 'small' else 1001}")  # noqa: T201


def srun() -> None:
    note("srun")


{"sbatch": sbatch, "squeue": squeue, "scancel": scancel, "scontrol": scontrol, "srun": srun}[NAME]()
