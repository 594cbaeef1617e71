"""submitit's Slurm executor, and what this project's promises need beside it.

submitit renders the batch script, and in each process of a job unpickles what to run, catches the signal before the
time limit or at preemption, and requeues. Each override below names the fact that makes it necessary.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import submitit

from tksbench.launch import scheduler
from tksbench.launch.submissions import REFUSED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from submitit.core.utils import DelayedSubmission

    from tksbench.launch.profile import Resources, SlurmProfile
    from tksbench.launch.submissions import Submission

NOTHING_TO_DO = 10  # exit status of `begin`: the run is done, cancelled, or another job's
_LEAVE_S = 300  # after the first of a run's processes has left, srun gives the others so long
_ANY_NUMBER = 10**9  # of time-outs: a run is given up by its progress, and submitit takes a preemption for a time-out


class ArrayExecutor(submitit.SlurmExecutor):
    """Submits the runs of one submission.

    Args:
        submission: Its files.
        profile: The cluster.
        resources: Of each run.
        after: A job that has to end before, if any; one of the same cluster, which others cannot wait for.
        parent: The job (of an array: its element) that has to end well before, if any; where it does not, Slurm takes
            these from the queue.
    """

    def __init__(
        self,
        submission: Submission,
        profile: SlurmProfile,
        resources: Resources,
        after: scheduler.JobId | None = None,
        parent: scheduler.JobId | None = None,
    ) -> None:
        python = shlex.quote(profile.python or sys.executable)
        super().__init__(submission.folder, max_num_timeout=_ANY_NUMBER, python=python)
        self._submission = submission
        options: dict[str, Any] = {name: value or True for name, value in profile.options.items()}
        for job in (after, parent):
            if job and job.cluster:
                options["clusters"] = job.cluster
        if parent:
            options["kill-on-invalid-dep"] = "yes"
        waits = [f"afterany:{after.number}"] if after else []
        waits += [f"afterok:{parent.number}"] if parent else []
        kind = [profile.gpu_type] if profile.gpu_type else []
        own = {
            "name": submission.name,
            "partition": profile.partition,
            "account": profile.account,
            "qos": profile.qos,
            "constraint": profile.constraint,
            "nodes": resources.nodes,
            "tasks_per_node": resources.tasks_per_node,
            # not gpus_per_task: each task would see one GPU, called 0, while its local rank says otherwise
            "gpus_per_node": ":".join([*kind, str(resources.gpus_per_node)]) if resources.gpus_per_node else None,
            "cpus_per_task": resources.cpus_per_task,
            "mem_gb": profile.mem_gb,
            "timeout_min": profile.minutes,
            "signal_delay_s": profile.signal_seconds,
            "array_parallelism": profile.parallel,
            "dependency": ",".join(waits) or None,
            "setup": self._setup(profile),
            "teardown": [f"{self._step('end')} $?"],
            # The log is opened by the script, and what is printed comes to it through srun: Slurm, and submitit
            # likewise, would put ids in place of a % in a path.
            "srun_args": ["--output=all", "--kill-on-bad-exit=1", f"--wait={_LEAVE_S}", *profile.srun],
            "additional_parameters": options
            | {"output": "/dev/null", "requeue" if profile.requeue else "no-requeue": True},
            "stderr_to_stdout": True,
        }
        given = {name: value for name, value in own.items() if value is not None}
        self.update_parameters(**self._convert_parameters(given), wckey=None)  # clusters that keep wckeys refuse ours

    def script(self, count: int) -> str:
        """The text for sbatch of an array of so many runs."""
        self.parameters["map_count"] = count
        return self._make_submission_file_text(self._submitit_command_str, "")

    def _step(self, verb: str) -> str:
        return f"{shlex.quote(sys.executable)} -m tksbench.launch.job {verb} {shlex.quote(str(self.folder))}"

    def _setup(self, profile: SlurmProfile) -> list[str]:
        """What the script does before srun: its log, the profile's set-up, and whether the run is to be trained.

        A shell would go on behind a module that does not exist, and the run train with whatever is there instead.
        The set-up that fails ends the job, which is not started again; one that Slurm has killed did not fail.
        """
        reason = "setup: '${failed:-$BASH_COMMAND}' ended with status $code on $(hostname)"
        said = f'echo "$(date -u +%FT%T+00:00) tksbench: {REFUSED}{reason}"'
        trap = [
            f"unready() {{ local code=$?; (( code > 128 )) || {said}; exit $(( code ? code : 1 )); }}",
            "trap unready EXIT",
            "set -e",
            *(part for line in profile.setup for part in checked(line)),
            "set +e",
            "trap - EXIT",
        ]
        return [
            f'exec >>{shlex.quote(str(self.folder))}/log/"${{SLURM_ARRAY_TASK_ID}}".txt 2>&1',
            f"cd -- {shlex.quote(str(Path.cwd()))} || exit 1",
            # Slurm 22.05 to 23.02: srun forgets --cpus-per-task
            'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" OMP_NUM_THREADS="$SLURM_CPUS_PER_TASK"',
            *(trap if profile.setup else []),
            f"{self._step('begin')} || exit $(( $? == {NOTHING_TO_DO} ? 0 : 1 ))",
        ]

    @classmethod
    def affinity(cls) -> int:
        """Exist without Slurm, too: a plan prints the script on any machine, where submitit would make no executor."""
        return 2

    @property
    def _submitit_command_str(self) -> str:
        """The entry in a job: submitit's own looks for a pickle named after the job's id, ours gives it that name."""
        return f"{self.python} -u -m tksbench.launch.job task {shlex.quote(str(self.folder))}"

    def _internal_process_submissions(
        self, delayed_submissions: Sequence[DelayedSubmission]
    ) -> list[submitit.Job[Any]]:
        """Make an array of any number of runs, with pickles that are there before sbatch is called.

        submitit renames them after the job's id once sbatch has printed it: the jobs of a launcher that dies before
        would wait a minute for them and fail. One run it submits without an array, and arrays without this class.
        """
        for index, delayed in enumerate(delayed_submissions):
            delayed.set_timeout(self.parameters["time"], self.max_num_timeout)
            delayed.dump(self.folder / f"{index}.pkl")
        self.parameters["map_count"] = len(delayed_submissions)
        return [self._submit_command(self._submitit_command_str)]

    def _submit_command(self, command: str) -> submitit.Job[Any]:
        """Call sbatch, and note its answer at once.

        submitit would wait for sbatch without end, hand it what a surrounding job's or the user's SBATCH_* variables
        say, lose the cluster's name, and make folders of a path with a % in it.
        """
        path = self._submission.write_script(self._make_submission_file_text(command, ""))
        job = scheduler.submit(path)
        self._submission.submitted(*job)
        return submitit.SlurmJob(self.folder, job.number, tasks=range(self._num_tasks()))


def checked(line: str) -> list[str]:
    """A line of the set-up, and a look at how it ended where a shell would go on: behind commands joined by `&&`.

    One that begins with a test asks whether to do something; that it does not is no failure.

    >>> checked("module load cuda")
    ['module load cuda']
    >>> len(checked("module load cuda && source env/bin/activate")), len(checked("[ -f env.sh ] && source env.sh"))
    (2, 1)
    """
    asks, goes_on = ("[", "((", "test ", "command -v "), ("&&", "||", "|", "\\", "{", "(", "then", "do", "else")
    if "&&" not in line or line.lstrip().startswith(asks) or line.rstrip().endswith(goes_on):
        return [line]
    return [line, f"code=$?; (( code == 0 )) || {{ failed={shlex.quote(line)}; exit $code; }}"]
