"""Where the processes of a multiworker job listen and which GPUs are theirs, by what launchers set."""

from __future__ import annotations

import socket
import time

import pytest
from helpers.jobs import finish, start, summary_of, tf_configs
from helpers.small_runs import command_line, on, write_digits

from vaeflow.distributed.job.job import Job
from vaeflow.distributed.job.ports import first_port, port_of
from vaeflow.distributed.job.waiting import await_others
from vaeflow.distributed.strategies.multiworker import addresses_of, own_gpus
from vaeflow.errors import UsageError

FIRST = port_of("srun 17.0")
STEPS = [("17", "0"), ("17", "1"), ("18", "0"), ("19", "0")]


def srun(rank, *, tasks, nodes, node=0, local=0, job="17", **more):
    return {
        "SLURM_JOB_ID": job,
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": str(rank),
        "SLURM_STEP_NUM_TASKS": str(sum(tasks)),
        "SLURM_STEP_TASKS_PER_NODE": ",".join(map(str, tasks)),
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_NODEID": str(node),
        "SLURM_LOCALID": str(local),
        **more,
    }


def mpi(rank, size, local_rank, local_size, **more):
    numbers = {"RANK": rank, "SIZE": size, "LOCAL_RANK": local_rank, "LOCAL_SIZE": local_size}
    return {f"OMPI_COMM_WORLD_{name}": str(n) for name, n in numbers.items()} | {"PMIX_NAMESPACE": "4711"} | more


def addresses(environ):
    return addresses_of(Job.current(environ), environ)


def test_one_host_is_reached_on_loopback():
    expected = [f"127.0.0.1:{FIRST}", f"127.0.0.1:{FIRST + 1}"]
    assert addresses(srun(1, tasks=[2], nodes="n1", local=1)) == expected


def test_hosts_keep_slurms_order_with_any_number_of_tasks():
    expected = [f"n9:{FIRST}", f"n9:{FIRST + 1}", f"n10:{FIRST + 2}"]  # as text, n10 comes first
    for rank, (node, local) in enumerate([(0, 0), (0, 1), (1, 0)]):
        assert addresses(srun(rank, tasks=[2, 1], nodes="n[9-10]", node=node, local=local)) == expected


def test_names_with_several_numbers_are_read():
    found = addresses(srun(0, tasks=[1, 1], nodes="rack[1-2]node3"))
    assert [address.partition(":")[0] for address in found] == ["rack1node3", "rack2node3"]


def test_ranks_that_alternate_between_hosts_are_an_error():
    environ = srun(1, tasks=[2, 2], nodes="n[1-2]", node=1)  # srun --distribution=cyclic
    with pytest.raises(UsageError, match=r"rank 1 number 0 on host n2: .* --distribution=block"):
        addresses(environ)


def test_mpirun_needs_names_of_several_hosts():
    first = port_of("mpirun 4711")
    assert addresses(mpi(1, 2, 1, 2)) == [f"127.0.0.1:{first}", f"127.0.0.1:{first + 1}"]
    with pytest.raises(UsageError, match="several hosts; set VAEFLOW_HOSTS=host1:4,host2:4"):
        addresses(mpi(0, 2, 0, 1))
    assert addresses(mpi(0, 2, 0, 1, VAEFLOW_HOSTS="a, b:1")) == [f"a:{first}", f"b:{first + 1}"]


@pytest.mark.parametrize("text", ["a:x", ":2", "a:", "a:-1"])
def test_hosts_that_make_no_sense_are_one_line(text):
    with pytest.raises(UsageError, match=r"VAEFLOW_HOSTS='.*' is not a list of hosts and their processes, such as"):
        addresses(mpi(0, 2, 0, 1, VAEFLOW_HOSTS=text))


def test_jobs_and_steps_have_ports_of_their_own():
    found = [first_port(Job("srun", processes=8), {"SLURM_JOB_ID": job, "SLURM_STEP_ID": step}) for job, step in STEPS]
    gaps = [abs(one - other) for i, one in enumerate(found) for other in found[:i]]
    assert min(gaps) >= 8


def test_the_user_may_name_the_first_port():
    job = Job("srun", processes=4)
    assert first_port(job, {"VAEFLOW_PORT": "5000"}) == 5000
    for wrong in ("0", "x", "65533", "-1", "\u0664"):
        with pytest.raises(UsageError, match=r"VAEFLOW_PORT='.*' is not a port from 1 to 65532: 4 ports"):
            first_port(job, {"VAEFLOW_PORT": wrong})


def test_an_address_of_ip_6_is_reached():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        begun = time.monotonic()
        await_others(["self:1", f"[::1]:{server.getsockname()[1]}"], 5.0)
        assert time.monotonic() - begun < 4


@pytest.mark.parametrize(
    ("seen", "job", "on_node", "own"),
    [
        (4, Job("mpirun", 0, 1), "", [0, 1, 2, 3]),
        (4, Job("mpirun", 2, 4, 2, 4), "", [2]),
        (8, Job("TF_CONFIG", 1, 2, 1, 2), "", [4, 5, 6, 7]),
        (1, Job("srun", 2, 4, 2, 4), "4", [0]),  # --gpus-per-task=1
        (2, Job("srun", 1, 2, 1, 2), "4", [0, 1]),  # --gpus-per-task=2
        (4, Job("srun", 1, 2, 1, 2), "4", [2, 3]),  # --gres=gpu:4
        (2, Job("srun", 3, 4, 3, 4), "2", [0, 1]),  # too few to share
    ],
)
def test_processes_share_the_gpus_that_they_all_see(seen, job, on_node, own):
    assert list(own_gpus(seen, job, {"SLURM_GPUS_ON_NODE": on_node})) == own


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["srun", "TF_CONFIG"])
def test_a_job_of_one_process_trains(tmp_path, mnist_content, launcher):
    data = write_digits(tmp_path / "digits.npz", mnist_content)
    environ = srun(0, tasks=[1], nodes="n1") if launcher == "srun" else {"TF_CONFIG": tf_configs(1)[0]}
    run_dir, settings = tmp_path / "run", on(data, "steps=2", "strategy=multiworker", "microbatches=2")
    finished = finish([start(command_line("train", "mnist-2d", "--run-dir", run_dir, *settings), **environ)])
    assert finished.codes == [0], finished.outputs
    assert (summary_of(run_dir)["strategy"], summary_of(run_dir)["replicas"]) == ("multiworker", 1)
