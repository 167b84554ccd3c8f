"""Horovod under srun and mpirun without horovodrun: the variables against Horovod's own, and real processes."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest

from vaeflow.distributed.job.horovod_environment import port_of, prepare_horovod_environment, rendezvous_of
from vaeflow.distributed.job.hosts import Hosts
from vaeflow.distributed.job.job import Job
from vaeflow.distributed.job.rendezvous import Rendezvous
from vaeflow.distributed.strategies.horovod import require_launcher
from vaeflow.errors import UsageError, VaeflowError

ENVIRONMENT = re.compile(r"(HOROVOD|SLURM|OMPI|PMIX|VAEFLOW|TF_CONFIG)")
WORKER = """
import os, sys
from vaeflow.distributed.job.job import Job
from vaeflow.cli.entry import _report
from vaeflow.cli.interrupts import Interrupts
from vaeflow.distributed.job.horovod_environment import prepare_horovod_environment
try:
    prepare_horovod_environment(Job.current())
except Exception as error:
    sys.exit(_report(error, Interrupts()))
assert "tensorflow" not in sys.modules
import horovod.tensorflow as hvd
import tensorflow as tf
hvd.init()
if hvd.rank() == 0 and "OUTSIDE" in os.environ:
    import socket
    with socket.socket() as probe:
        port = int(os.environ["HOROVOD_GLOO_RENDEZVOUS_PORT"])
        print("from outside:", probe.connect_ex((os.environ["OUTSIDE"], port)) == 0, flush=True)
total = hvd.allreduce(tf.constant([2**40 + 3 ** hvd.rank()], tf.int64), op=hvd.Sum)
local, cross = (hvd.local_rank(), hvd.local_size()), (hvd.cross_rank(), hvd.cross_size())
print("sum", int(total[0]), "local", *local, "cross", *cross, flush=True)
hvd.allreduce(tf.constant([0]))
hvd.shutdown()
"""


@pytest.fixture
def needs_horovod():
    if find_spec("horovod") is None:
        pytest.skip("Horovod is not installed: vaeflow horovod install")


@pytest.fixture
def port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean():
    """Return this process's environment without anything of a launcher."""
    return {name: value for name, value in os.environ.items() if not ENVIRONMENT.match(name)}


def slurm(rank, *, tasks="2", nodes="n1", node=0, local=None, step="17.0"):
    """Return the variables of a task of srun."""
    job, _, number = step.partition(".")
    counts = [int(text) for text in tasks.split(",")] if "(" not in tasks else None
    return {
        "SLURM_JOB_ID": job,
        "SLURM_STEP_ID": number,
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank if local is None else local),
        "SLURM_NODEID": str(node),
        "SLURM_STEP_NUM_TASKS": str(sum(counts) if counts else 6),
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_STEP_NODELIST": nodes,
    }


def mpi(rank, size, local_rank, local_size, **more):
    """Return the variables of a process of Open MPI's mpirun."""
    numbers = {"RANK": rank, "SIZE": size, "LOCAL_RANK": local_rank, "LOCAL_SIZE": local_size}
    return {f"OMPI_COMM_WORLD_{name}": str(n) for name, n in numbers.items()} | {"PMIX_NAMESPACE": "1730936833"} | more


def place_of(environ):
    job = Job.current(environ)
    return rendezvous_of(job, Hosts.of(job, environ), environ)


def start(environ, code=WORKER):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**clean(), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def together(*environs, timeout=120):
    """Run workers side by side; return their outputs, or fail with what they wrote."""
    processes = [start(environ) for environ in environs]
    try:
        outputs = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return [out for out, _ in outputs]


# Who runs where


@pytest.mark.horovod
@pytest.mark.usefixtures("needs_horovod")
@pytest.mark.parametrize("tasks", [(2, 2), (3, 1, 2), (1, 1, 1), (1, 3)])
def test_ranks_are_those_that_horovodrun_gives(tasks):
    oracle = (
        "import sys; from horovod.runner.common.util.hosts import *;"
        f"print([(s.hostname, s.local_rank, s.local_size, s.cross_rank, s.cross_size) for s in "
        f"get_host_assignments(parse_hosts({','.join(f'n{i}:{n}' for i, n in enumerate(tasks))!r}), {sum(tasks)})])"
    )
    done = subprocess.run([sys.executable, "-c", oracle], capture_output=True, text=True, check=True)
    ours, text = [], ",".join(map(str, tasks))
    for node, count in enumerate(tasks):
        for local in range(count):
            environ = slurm(len(ours), tasks=text, nodes=f"n[0-{len(tasks) - 1}]", node=node, local=local)
            job = Job.current(environ)
            hosts = Hosts.of(job, environ)
            ours.append((hosts.name, job.local_rank, job.local_processes, *hosts.cross(local)))
    assert repr(ours) == done.stdout.strip()


def test_slurms_short_forms_are_written_out():
    environ = slurm(5, tasks="2(x3)", nodes="gpu[08-09],login", node=2, local=1)
    hosts = Hosts.of(Job.current(environ), environ)
    assert hosts == Hosts(("gpu08", "gpu09", "login"), (2, 2, 2), 2)


def test_slurm_that_contradicts_itself_is_an_error():
    environ = slurm(0, tasks="1,1", nodes="n[1-3]")
    with pytest.raises(UsageError, match="names 3 hosts"):
        Hosts.of(Job.current(environ), environ)


def test_mpirun_on_equal_hosts_counts_them():
    environ = mpi(5, 6, 1, 2)
    hosts = Hosts.of(Job.current(environ), environ)
    assert (hosts.index, hosts.cross(1), hosts.name) == (2, (2, 3), "host-2")


def test_mpirun_with_named_hosts_takes_their_sizes():
    environ = mpi(3, 4, 0, 1, VAEFLOW_HOSTS="a:3,b")
    hosts = Hosts.of(Job.current(environ), environ)
    assert (hosts.name, hosts.cross(0), hosts.processes) == ("b", (1, 2), (3, 1))


@pytest.mark.parametrize(
    "environ",
    [
        mpi(0, 3, 0, 2),  # two here, so one elsewhere
        mpi(1, 4, 0, 2),  # --map-by node
        mpi(0, 4, 0, 2, VAEFLOW_HOSTS="a:3,b:1"),
        mpi(0, 4, 0, 2, VAEFLOW_HOSTS="a:2"),
        mpi(3, 4, 1, 2, VAEFLOW_HOSTS="a:2,b:1"),
    ],
)
def test_mpirun_on_hosts_that_do_not_fit_is_an_error(environ):
    with pytest.raises(UsageError, match=r"--map-by slot.*-x VAEFLOW_HOSTS=host1:4,host2:2"):
        Hosts.of(Job.current(environ), environ)


# Where they meet


def test_one_host_uses_loopback_and_each_job_step_its_own_port():
    first, second = place_of(slurm(0)), place_of(slurm(1))
    assert first == second == Rendezvous("127.0.0.1", port_of("srun 17.0"), "srun 17.0")
    ports = {place_of(slurm(0, step=step)).port for step in ("17.0", "17.1", "18.0")}
    assert len(ports) == 3
    assert all(20000 <= port < 30000 for port in ports)


def test_several_hosts_meet_at_the_first():
    environ = slurm(1, tasks="1,1", nodes="localhost,other.invalid", node=1, local=0)
    assert place_of(environ).address == "127.0.0.1"  # the first one's name, in this test


def test_a_host_without_an_address_is_named():
    environ = slurm(1, tasks="1,1", nodes="first.invalid,second.invalid", node=1, local=0)
    with pytest.raises(VaeflowError, match=r"host 'first\.invalid' .* VAEFLOW_RENDEZVOUS=HOST:PORT"):
        place_of(environ)


def test_mpirun_on_several_hosts_wants_a_name():
    with pytest.raises(UsageError, match="-x VAEFLOW_RENDEZVOUS=HOST:PORT"):
        place_of(mpi(0, 4, 0, 2))
    assert place_of(mpi(0, 4, 0, 2, VAEFLOW_RENDEZVOUS="localhost:9")).port == 9
    assert place_of(mpi(2, 4, 0, 2, VAEFLOW_HOSTS="localhost:2,b:2")).port == port_of("mpirun 1730936833")


@pytest.mark.parametrize(("given", "port"), [("127.0.0.1:4711", 4711), ("localhost", port_of("srun 17.0"))])
def test_the_user_may_name_the_place(given, port):
    place = place_of(slurm(0, tasks="1,1", nodes="first.invalid,second.invalid") | {"VAEFLOW_RENDEZVOUS": given})
    assert (place.address, place.port) == ("127.0.0.1", port)


@pytest.mark.parametrize("given", [":1", "a:b", "a:0", "a:70000", "a:-1", "a:1:2"])
def test_a_place_that_is_none_is_an_error(given):
    with pytest.raises(UsageError, match="is not HOST:PORT"):
        place_of(slurm(0) | {"VAEFLOW_RENDEZVOUS": given})


# What there is nothing to do for


@pytest.mark.parametrize("environ", [{}, {"HOROVOD_RANK": "1", "HOROVOD_SIZE": "2"} | slurm(1), slurm(0, tasks="1")])
def test_horovodrun_and_a_lone_process_stay_as_they_are(environ):
    before = dict(environ)
    prepare_horovod_environment(Job.current(environ), environ)
    assert environ == before


def test_other_launchers_are_refused():
    with pytest.raises(UsageError, match="as launcher, not TF_CONFIG"):
        prepare_horovod_environment(Job("TF_CONFIG", 0, 2), {})


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan"])
def test_a_patience_that_is_none_is_an_error(text):
    environ = slurm(1) | {"VAEFLOW_RENDEZVOUS_TIMEOUT": text}
    with pytest.raises(UsageError, match="is not a number of seconds above 0"):
        prepare_horovod_environment(Job.current(environ), environ)


# Those who do not come


def alone(rank, port, **more):
    """Return the environment of one rank of two, that waits a second."""
    return slurm(rank) | {"VAEFLOW_RENDEZVOUS": f"127.0.0.1:{port}", "VAEFLOW_RENDEZVOUS_TIMEOUT": "1"} | more


def test_a_rank_without_rank_0_names_the_place_it_waited_at(port):
    environ = alone(1, port, http_proxy="http://127.0.0.1:1")
    before = dict(environ)
    with pytest.raises(VaeflowError, match=rf"rank 1 did not reach .* at 127\.0\.0\.1:{port} within 1 s: .*refused"):
        prepare_horovod_environment(Job.current(environ), environ)
    assert environ == before


@pytest.mark.slow
@pytest.mark.horovod
@pytest.mark.usefixtures("needs_horovod")
def test_rank_0_names_the_rank_that_does_not_come(port):
    process = start(alone(0, port))
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (
        1,
        f"vaeflow: rank 1 did not connect to 127.0.0.1:{port} within 1 s of rank 0\n",
    )


@pytest.mark.horovod
@pytest.mark.usefixtures("needs_horovod")
def test_a_port_that_is_taken_is_one_line_of_rank_0(port):
    with socket.create_server(("127.0.0.1", port)):
        process = start(alone(0, port))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.fullmatch(rf"vaeflow: rank 0 cannot listen at 127\.0\.0\.1:{port} \(Address already in use\); .*\n", err)


class Other(http.server.BaseHTTPRequestHandler):
    """The rendezvous server of another job."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"srun 99.0")

    do_PUT = do_GET  # noqa: N815 The base class wants this name.

    def log_message(self, *args):
        pass


def test_nobody_joins_another_job(port):
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Other) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        environ = alone(1, port)
        try:
            with pytest.raises(VaeflowError, match="another program uses this address"):
                prepare_horovod_environment(Job.current(environ), environ)
        finally:
            server.shutdown()


# Real processes


def sums(outputs):
    return sorted(re.search(r"sum .*", output)[0] for output in outputs)


@pytest.mark.horovod
@pytest.mark.distributed
@pytest.mark.usefixtures("needs_horovod")
def test_two_tasks_of_srun_add_up_and_listen_on_loopback_alone(port):
    outside = own_address()
    more = {"VAEFLOW_RENDEZVOUS": f"127.0.0.1:{port}"} | ({"OUTSIDE": outside} if outside else {})
    outputs = together(slurm(0) | more, slurm(1) | more)
    assert sums(outputs) == [f"sum {2**41 + 1 + 3} local {rank} 2 cross 0 1" for rank in (0, 1)]
    assert not outside or "from outside: False" in outputs[0]


@pytest.mark.slow
@pytest.mark.horovod
@pytest.mark.distributed
@pytest.mark.repetition
@pytest.mark.usefixtures("needs_horovod")
def test_three_tasks_on_two_unequal_virtual_nodes_add_up(port):
    more = {"VAEFLOW_RENDEZVOUS": f"127.0.0.1:{port}"}
    places = [(0, 0, 0), (1, 0, 1), (2, 1, 0)]
    outputs = together(
        *(slurm(rank, tasks="2,1", nodes="n[1-2]", node=node, local=local) | more for rank, node, local in places)
    )
    total = 3 * 2**40 + 1 + 3 + 9
    assert sums(outputs) == [
        f"sum {total} local 0 1 cross 1 2",
        f"sum {total} local 0 2 cross 0 2",
        f"sum {total} local 1 2 cross 0 1",
    ]


@pytest.mark.horovod
@pytest.mark.distributed
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="Open MPI is not installed: apt-get install openmpi-bin")
@pytest.mark.usefixtures("needs_horovod")
def test_mpirun_itself(tmp_path):
    options = ["--oversubscribe", *(["--allow-run-as-root"] if os.geteuid() == 0 else [])]
    # A file for each rank: in mpirun's own output, lines that two ranks print at once lose parts of one another.
    command = ["mpirun", *options, "--output-filename", "out", "-np", "2", sys.executable, "-c", WORKER]
    done = subprocess.run(command, env=clean(), capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        [out] = tmp_path.glob(f"out/*/rank.{rank}/stdout")
        assert f"sum {2**41 + 4} local {rank} 2 cross 0 1" in out.read_text()


def own_address():
    """Return an address of this machine that is not loopback, or nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return ""
        address = probe.getsockname()[0]
        return "" if address.startswith("127.") else address


def test_an_elastic_job_needs_its_launcher():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        place = {"HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1", "HOROVOD_GLOO_RENDEZVOUS_PORT": port}
        require_launcher(place)
    with pytest.raises(VaeflowError, match=rf"launcher at 127.0.0.1:{port} does not answer \(Connection refused\)"):
        require_launcher(place)


@pytest.mark.slow
def test_a_launcher_that_is_silent_is_called_again():
    def answer():
        server.settimeout(3)
        with contextlib.suppress(OSError):
            while True:
                server.accept()[0].close()

    with socket.socket() as server, contextlib.ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address, port = server.getsockname()
        place = {"HOROVOD_GLOO_RENDEZVOUS_ADDR": address, "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port)}
        for _ in range(4):  # they fill the queue, so the next call is not answered
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex((address, port))
        with pytest.raises(VaeflowError, match=r"does not answer \(timed out\)"):
            require_launcher(place)
        later = threading.Timer(1.2, answer)
        later.start()
        require_launcher(place)
        later.join()
