"""The words of the launcher's command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tksbench.cli import CommandParser
from tksbench.launch.errors import LaunchError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ABOUT = """\
Train what the recipes ask for and is not trained yet. A finished run is never
trained twice; after Ctrl-C, a crash or kill -9 the same command goes on from
the last checkpoint. Several launchers may work on one results folder at once;
two on one machine share its GPUs, and take all cores of its CPU each."""
_EXAMPLES = """\
examples:
  python -m tksbench.launch recipes/cifar10.yaml --plan
  python -m tksbench.launch recipes/cifar10.yaml --scale mini --only '*/tks'
  python -m tksbench.launch recipes/*.yaml --scale budget --max-gpu-hours 20
  python -m tksbench.launch recipes/cifar10.yaml optim.epochs=100
  python -m tksbench.launch recipes/cifar10.yaml execution.track=tensorboard
  python -m tksbench.launch recipes/cifar10.yaml --rehearse
  python -m tksbench.launch recipes/imagenet.yaml --slurm slurm/default.yaml
  python -m tksbench.launch --status --watch

TKSBENCH_DATA names the data root (else data/), TKSBENCH_RESULTS the results
(else results/).
exit status: 0 done, 1 a run failed or there was nothing to cancel,
2 bad input or missing data, 130 interrupted"""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line, and check what needs no recipe.

    Raises:
        TksbenchError: A word that is not known, or words that do not go together.
    """
    parser = CommandParser("python -m tksbench.launch", _ABOUT, _EXAMPLES)
    parser.add_argument(
        "words", nargs="*", metavar="RECIPE | KEY=VALUE", help="recipe files, and values laid over them"
    )
    parser.add_argument(
        "--scale", help="paper (default), budget, mini or smoke; with --status and --cancel the default is all"
    )
    parser.add_argument(
        "--only",
        metavar="GLOB",
        action="append",
        default=[],
        help="only runs whose name matches, for example '*/tks'; may be given several times",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds a cell, first seeds of all cells first")
    parser.add_argument("--plan", action="store_true", help="show what would be done, why, and its cost; do nothing")
    parser.add_argument(
        "--probe", action="store_true", help="first train 20 steps here of each run whose cost no record has"
    )
    parser.add_argument(
        "--rehearse", action="store_true", help="train two steps of each run here, save, read back, test; keep nothing"
    )
    parser.add_argument(
        "--again", action="store_true", help="train anew also what is done or begun, which is moved to set-aside/"
    )
    parser.add_argument(
        "--max-gpu-hours", type=float, metavar="GPU_HOURS", help="leave out what does not fit into so many GPU-hours"
    )
    parser.add_argument("--budget", dest="max_gpu_hours", type=float, help=argparse.SUPPRESS)  # its former name
    parser.add_argument(
        "--slurm",
        nargs="?",
        const="",
        metavar="PROFILE",
        help="submit to a cluster instead of training here; PROFILE: see slurm/ (default slurm/default.yaml)",
    )
    parser.add_argument(
        "--cluster",
        choices=("slurm", "local", "debug"),
        help="where the jobs of --slurm run: on the cluster (default), here as processes, or here in this process",
    )
    parser.add_argument("--cancel", action="store_true", help="cancel the Slurm jobs of these runs, and no others")
    parser.add_argument("--status", action="store_true", help="show how the runs stand; without a recipe, all of them")
    parser.add_argument(
        "--watch", action="store_true", help="with --status: again and again, until nothing is running or queued"
    )
    parser.add_argument("--json", action="store_true", help="with --plan, --rehearse or --status: print JSON")
    options = parser.parse_intermixed_args(words)
    if options.slurm and not _is_profile(options.slurm):  # `--slurm RECIPE`: argparse took the recipe for the profile
        options.words.append(options.slurm)
        options.slurm = ""
    if options.cluster and options.slurm is None:
        options.slurm = ""
    is_override = [("=" in word and not Path(word).exists()) for word in options.words]
    options.overrides = [word for word, override in zip(options.words, is_override, strict=True) if override]
    options.recipes = [word for word, override in zip(options.words, is_override, strict=True) if not override]
    _check(options)
    return options


def _is_profile(word: str) -> bool:
    """Whether a word after --slurm is meant as a profile, and is not a recipe or KEY=VALUE."""
    path = Path(word)
    if not path.is_file():
        return "=" not in word
    from tksbench.recipe.yamltree import read

    return read(path).get("runs") is None


def _check(options: argparse.Namespace) -> None:
    if options.seeds is not None and not 1 <= options.seeds <= 1000:
        raise LaunchError(f"--seeds {options.seeds}: expected a number from 1 to 1000")
    if options.max_gpu_hours is not None and not 0 <= options.max_gpu_hours < float("inf"):
        raise LaunchError(f"--max-gpu-hours {options.max_gpu_hours}: expected GPU-hours, 0 or more")
    if options.plan and options.status:
        raise LaunchError("--plan and --status exclude each other")
    if options.probe and not (options.plan or options.max_gpu_hours is not None):
        raise LaunchError("--probe goes with --plan or --max-gpu-hours: it says what runs will cost")
    if options.cancel and (options.plan or options.status or options.slurm is not None):
        raise LaunchError("--cancel goes with recipes, --scale, --only and --seeds alone")
    if options.rehearse and options.slurm is not None and options.cluster != "local":
        raise LaunchError("--rehearse submits nothing: with a profile's job it goes as --cluster local")
    if options.rehearse and (options.plan or options.cancel or options.status or options.again or options.probe):
        raise LaunchError("--rehearse goes with recipes, --scale, --only, --seeds and --json alone")
    if options.again and (options.cancel or options.status):
        raise LaunchError("--again trains, which --status and --cancel do not")
    if options.slurm is not None and options.status:
        raise LaunchError("--status shows Slurm's jobs without --slurm")
    if options.watch and (options.json or not options.status):
        raise LaunchError("--watch goes with --status, and not with --json")
    if options.json and not (options.plan or options.rehearse or options.status):
        raise LaunchError("--json goes with --plan, --rehearse or --status")
    if not options.recipes and (options.overrides or not options.status):
        raise LaunchError("no recipe named, for example: python -m tksbench.launch recipes/cifar10.yaml --plan")
