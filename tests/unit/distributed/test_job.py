"""Which process of its job this one is, by what launchers set."""

import contextlib
import json
import os
import re

import pytest
from helpers.small_runs import vaeflow
from hypothesis import given
from hypothesis import strategies as st

from vaeflow.components import strategies
from vaeflow.config.compose import compose
from vaeflow.config.schema import Config
from vaeflow.distributed.job.hosts import Hosts
from vaeflow.distributed.job.job import MOST, Job
from vaeflow.errors import UsageError
from vaeflow.runtime.threads import threads_of

WORKERS = ["a:1", "a:2", "b:1"]
SRUN = {
    "SLURM_PROCID": "3",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
}
SHELL = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}  # srun --pty bash
MPICH = {"PMI_RANK": "2", "PMI_SIZE": "4"}
LAUNCHERS = ("HOROVOD_RANK", "HOROVOD_SIZE", "TF_CONFIG", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "PMI_SIZE")


def tf_config(kind, index, **cluster):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        ({}, Job()),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Job()),  # the shell of a batch job
        (SRUN, Job("srun", 3, 5, 1, 2)),
        ({**SRUN, "HOROVOD_RANK": "1", "HOROVOD_SIZE": "2"}, Job("horovodrun", 1, 2, 0, 1)),
        (tf_config("worker", 1, worker=WORKERS), Job("TF_CONFIG", 1, 3, 1, 2)),
        (tf_config("worker", 0, chief=["c:1"], worker=WORKERS), Job("TF_CONFIG", 1, 4, 0, 2)),
        (tf_config("worker", 0, worker=["a:1"]), Job("TF_CONFIG")),
        ({**SHELL, **tf_config("worker", 1, worker=WORKERS)}, Job("TF_CONFIG", 1, 3, 1, 2)),
        ({**SRUN, **tf_config("worker", 0, worker=["a:1"])}, Job("srun", 3, 5, 1, 2)),
        ({**SRUN, "HOROVOD_RANK": "0", "HOROVOD_SIZE": "1"}, Job("horovodrun")),
        (SHELL, Job("srun")),
        (
            {
                f"OMPI_COMM_WORLD_{name}": n
                for name, n in zip(("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"), "2412", strict=True)
            },
            Job("mpirun", 2, 4, 1, 2),
        ),
    ],
)
def test_places(environ, job):
    assert Job.current(environ) == job


@pytest.mark.parametrize(
    "environ",
    [
        {"TF_CONFIG": "{"},
        {"TF_CONFIG": "[]"},
        tf_config("worker", 3, worker=WORKERS),
        tf_config("ps", 0, worker=WORKERS),
        {"HOROVOD_RANK": "x", "HOROVOD_SIZE": "2"},
        {"OMPI_COMM_WORLD_SIZE": "2"},
        {"TF_CONFIG": "[" * 10**5},
        tf_config("worker", True, worker=WORKERS),
        tf_config("worker", 0, worker="a:1"),
        tf_config("worker", 0, worker=["a"]),
        tf_config("worker", 0, worker=["a:65536"]),
        tf_config("worker", 0, chief=["a:1", "b:1"]),
        {**SRUN, "SLURM_NODEID": "7"},
        {**SRUN, "SLURM_STEP_TASKS_PER_NODE": "1(x1000000000)"},
        {**SRUN, "SLURM_STEP_TASKS_PER_NODE": "2(x2,1"},
        {"PMI_SIZE": "many"},
    ],
)
def test_nonsense_is_a_usage_error(environ):
    with pytest.raises(UsageError):
        Job.current(environ)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"HOROVOD_RANK": "5", "HOROVOD_SIZE": "2"}, "HOROVOD_RANK=5 with HOROVOD_SIZE=2: ranks are from 0 to 1"),
        ({"HOROVOD_RANK": "0"}, "HOROVOD_SIZE is not set"),
        ({"HOROVOD_SIZE": "2"}, "HOROVOD_RANK is not set"),
        ({"HOROVOD_RANK": "-1", "HOROVOD_SIZE": "2"}, "HOROVOD_RANK='-1' is not a whole number"),
        ({"HOROVOD_RANK": "0", "HOROVOD_SIZE": "9" * 9}, "HOROVOD_SIZE=999999999 is not from 1 to 1048576"),
        (
            {"HOROVOD_RANK": "0", "HOROVOD_SIZE": "2", "HOROVOD_LOCAL_SIZE": "3"},
            "HOROVOD_LOCAL_SIZE=3 is not from 1 to HOROVOD_SIZE=2",
        ),
        (
            {"HOROVOD_RANK": "0", "HOROVOD_SIZE": "2", "HOROVOD_LOCAL_RANK": "1"},
            "HOROVOD_LOCAL_RANK=1 with HOROVOD_LOCAL_SIZE=1: local ranks start at 0",
        ),
        ({**SRUN, "SLURM_PROCID": "5"}, "SLURM_PROCID=5 with SLURM_STEP_NUM_TASKS=5: ranks are from 0 to 4"),
        (tf_config("worker", 0, worker=["a:1", "a:1"]), "TF_CONFIG: the address 'a:1' is given twice"),
    ],
)
def test_what_contradicts_itself_is_named(environ, line):
    with pytest.raises(UsageError, match=re.escape(line)):
        Job.current(environ)


NAMES = (
    *(f"HOROVOD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "ELASTIC")),
    *(f"OMPI_COMM_WORLD_{name}" for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")),
    *(f"SLURM_{name}" for name in ("PROCID", "STEP_NUM_TASKS", "LOCALID", "NODEID", "STEP_TASKS_PER_NODE")),
    *("SLURM_CPUS_PER_TASK", "SLURM_STEP_NODELIST", "PMI_RANK", "PMI_SIZE"),
)
SMALL_NUMBERS = st.integers(-1, 4).map(str)
ODD = st.sampled_from(["", "x", "1.0", "2(x2),1", "1(x1000000000)", "n[1-1000000000]", "n[1-2]", "9" * 5000, "\udcff"])
VALUES = st.one_of(SMALL_NUMBERS, ODD, st.text(max_size=5))
JSONS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(WORKERS), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
ADDRESSES = st.lists(st.one_of(st.sampled_from(WORKERS), JSONS), max_size=3)
TF_CONFIGS = st.one_of(
    st.builds(
        lambda chief, worker, kind, index: {
            "cluster": {"chief": chief, "worker": worker},
            "task": {"type": kind, "index": index},
        },
        ADDRESSES,
        ADDRESSES,
        st.one_of(st.sampled_from(["chief", "worker", "ps"]), JSONS),
        st.one_of(st.integers(-1, 4), JSONS),
    ),
    JSONS,
).map(json.dumps)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=9), st.one_of(st.none(), TF_CONFIGS, st.text()))
def test_any_environment_is_a_job_or_a_usage_error(environ, config):
    if config is not None:
        environ["TF_CONFIG"] = config
    with contextlib.suppress(UsageError):
        job = Job.current(environ)
        assert 0 <= job.rank < job.processes <= MOST
        assert 1 <= job.local_processes <= job.processes
        assert 0 <= job.local_rank < job.local_processes or job.elastic
        threads_of(Config(), job.local_processes, environ)
        if job.launcher == "srun":
            Hosts.of(job, environ)


@pytest.mark.slow
@pytest.mark.parametrize("size", [{}, {"HOROVOD_SIZE": "2"}])
def test_a_process_with_nonsense_ends_with_one_line(size):
    done = vaeflow("train", "mnist-2d", "--dry-run", env={**os.environ, "HOROVOD_RANK": "5", **size}, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "HOROVOD_SIZE" in done.stderr


@pytest.fixture
def environ(monkeypatch):
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_auto_takes_what_the_launcher_started(environ):
    assert strategies.auto().name == "single"
    assert strategies.auto(replicas=3).name == "mirrored"
    environ.setenv("TF_CONFIG", tf_config("worker", 1, worker=WORKERS)["TF_CONFIG"])
    assert strategies.auto().name == "multiworker"
    assert strategies.auto().local_processes == 2


def test_srun_leaves_the_choice_to_the_user(environ):
    for name, value in SRUN.items():
        environ.setenv(name, value)
    with pytest.raises(UsageError, match="--strategy multiworker or --strategy horovod"):
        strategies.auto()


def test_one_process_of_a_launcher_is_a_job_of_one(environ):
    for name, value in SHELL.items():
        environ.setenv(name, value)
    assert strategies.auto().name == strategies.single().name == "single"
    assert strategies.multiworker().local_processes == 1


@pytest.mark.parametrize("build", [strategies.auto, strategies.single, strategies.mirrored, strategies.multiworker])
def test_processes_that_cannot_be_joined_do_not_train_alone(environ, build):
    for name, value in MPICH.items():
        environ.setenv(name, value)
    with pytest.raises(UsageError, match=r"MPICH or Intel MPI started 4 processes, .* by horovodrun, srun or Open MPI"):
        build()


@pytest.mark.parametrize("build", [strategies.single, strategies.mirrored])
def test_a_process_of_several_cannot_train_alone(environ, build):
    environ.setenv("TF_CONFIG", tf_config("worker", 1, worker=WORKERS)["TF_CONFIG"])
    with pytest.raises(UsageError, match="each would train alone"):
        build()


def test_multiworker_needs_a_launcher(environ):
    with pytest.raises(UsageError, match="needs a launcher that starts several processes"):
        strategies.multiworker()
    environ.setenv("HOROVOD_RANK", "0")
    environ.setenv("HOROVOD_SIZE", "2")
    with pytest.raises(UsageError, match="as launcher, not horovodrun"):
        strategies.multiworker()


@pytest.mark.parametrize(
    ("environ", "local_processes", "threads"),
    [
        ({}, 1, 8),
        ({}, 4, 2),
        ({}, 16, 1),
        ({**SRUN, "SLURM_CPUS_PER_TASK": "4"}, 2, 4),
        ({**SRUN, "SLURM_CPUS_PER_TASK": "16"}, 2, 8),  # fewer are there than SLURM was asked for
        ({"SLURM_CPUS_PER_TASK": "4", "HOROVOD_RANK": "0", "HOROVOD_SIZE": "4"}, 4, 2),  # horovodrun in a job of SLURM
    ],
)
def test_processes_share_the_cores_of_a_host(monkeypatch, environ, local_processes, threads):
    monkeypatch.setattr("vaeflow.runtime.threads.cores", lambda: 8)
    config = compose("mnist-2d", []).config
    assert threads_of(config, local_processes, environ) == threads
    assert threads_of(compose("mnist-2d", ["microbatches=4"]).config, local_processes, environ) == 1
    assert threads_of(compose("mnist-2d", ["threads=3"]).config, local_processes, environ) == 3


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sample", "plot"])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_work_of_one_process_is_not_done_twice(command, rank, tmp_path):
    environ = {**os.environ, "HOROVOD_RANK": rank, "HOROVOD_SIZE": "2"}
    done = vaeflow(command, tmp_path, env=environ, timeout=60)
    assert done.returncode == 2
    expected = f"horovodrun started 2 processes, but vaeflow {command} runs in one: start it without the launcher"
    assert done.stderr == f"vaeflow: {'[rank 1] ' if rank == '1' else ''}{expected}\n"
    assert not list(tmp_path.iterdir())
