"""A process of a job that dies, hangs or fails is noticed, named, and takes the others with it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import dedent

import pytest
from helpers.jobs import HOROVOD, begin, finish, process_of_rank, start, tf_configs, usual
from helpers.small_runs import SMALL, command_line, on, write_digits
from helpers.tiers import repeated

from vaeflow.distributed.heartbeat.cut_connections import cut_connections
from vaeflow.distributed.heartbeat.link import BEAT, Link
from vaeflow.distributed.heartbeat.monitor import Watch
from vaeflow.errors import UsageError

JOBS = [
    pytest.param("multiworker", 3, id="multiworker x3"),
    pytest.param("horovod", 3, id="horovod x3", marks=[pytest.mark.horovod, HOROVOD]),
]
KILLED, STOPPED = 5, 15  # seconds in which all other processes of the job have ended
LONG = ("batch_size=8", "steps=100000", "log.every_steps=1000", "checkpoint.every_steps=100")


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content)


def trains(run):
    return any((run / "checkpoints").glob("step-*[1-9]*"))


def wait_until_it_trains(run, processes):
    until = time.monotonic() + 200
    while not trains(run):
        assert all(process.poll() is None for process in processes), finish(processes).outputs
        assert time.monotonic() < until
        time.sleep(0.05)


def numbers(kind, processes, mark):
    return [process_of_rank(kind, rank, processes, mark) for rank in range(3)]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def seconds_until(condition, patience):
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < patience, "too late"
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(
    ("kind", "count", "victim"),
    [
        pytest.param("horovod", 3, 0, id="horovod x3 0", marks=[pytest.mark.horovod, HOROVOD]),
        repeated("multiworker", 3, 2, id="multiworker x3 2"),
        repeated("horovod", 3, 2, id="horovod x3 2"),
        repeated("multiworker", 3, 0, id="multiworker x3 0"),
    ],
)
def test_a_killed_rank_ends_the_job(tmp_path, digits, kind, count, victim):
    run = tmp_path / "run"
    processes = begin(kind, count, "train", "mnist-2d", "--run-dir", run, *on(digits, *LONG))
    wait_until_it_trains(run, processes)
    pids = numbers(kind, processes, run)
    os.kill(pids[victim], signal.SIGKILL)
    others = [pid for rank, pid in enumerate(pids) if rank != victim]
    try:
        seconds_until(lambda: all(map(gone, others)), patience=KILLED)
    finally:
        finished = finish(processes)
    printed = "".join(finished.outputs)
    if victim == 0:
        assert kind == "horovod" or re.search(r"\[rank \d\] rank 0 \(host \S+, process \d+\) died", printed), printed
    else:
        assert re.search(rf"rank 2 \(host {socket.gethostname()}, process {pids[2]}\) died", printed), printed
        assert f"`vaeflow resume {run}` continues from the newest checkpoint" in printed
    assert all(finished.codes)
    assert kind == "horovod" or "Traceback" not in printed  # horovodrun shows its own


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(("kind", "count"), usual(JOBS, "multiworker x3"))
def test_a_stopped_rank_ends_the_job(tmp_path, digits, kind, count):
    run = tmp_path / "run"
    processes = begin(kind, count, "train", "mnist-2d", "--run-dir", run, *on(digits, *LONG))
    wait_until_it_trains(run, processes)
    pids = numbers(kind, processes, run)
    os.kill(pids[1], signal.SIGSTOP)
    try:
        seconds_until(lambda: gone(pids[0]) and gone(pids[2]), patience=STOPPED)
    finally:
        os.kill(pids[1], signal.SIGKILL)
        printed = "".join(finish(processes).outputs)
    assert re.search(rf"rank 1 \(host \S+, process {pids[1]}\) sent no heartbeat for 10 s", printed), printed
    assert f"`vaeflow resume {run}` continues from the newest checkpoint" in printed


def connected(address="127.0.0.1"):
    """Return both ends of a TCP connection; the first one's peer is the address."""
    with socket.create_server((address, 0)) as server:
        here = socket.create_connection(server.getsockname())
        return here, server.accept()[0]


def test_silence_and_closing_of_a_link():
    here, there = connected()
    link, other = Link(here, 0.3), Link(there, 0.3)
    other.say(BEAT)
    other.say("one\ntwo")
    lines = link.lines()
    assert next(lines) == "one two"
    with pytest.raises(TimeoutError):
        next(lines)
    other.close()
    assert list(link.lines()) == []
    link.close()


def test_only_connections_to_the_given_host_are_cut(tmp_path):
    lost, theirs = connected("127.0.0.2")
    kept, other = connected("127.0.0.3")
    left, right = socket.socketpair()
    reader = socket.create_server(("127.0.0.2", 0))  # listens there, is connected to nobody
    before = set(Path("/proc/self/fd").iterdir())
    with (tmp_path / "file").open("w"), contextlib.ExitStack() as stack:
        for connection in (lost, theirs, kept, other, left, right, reader):
            connection.settimeout(5)
            stack.enter_context(connection)
        waits = threading.Thread(target=lambda: received.append(lost.recv(1)))
        received = []
        waits.start()
        assert cut_connections("127.0.0.2") == 1
        waits.join(5)
        assert received == [b""]  # the read that waited has ended
        for sender, receiver in ((kept, other), (left, right)):
            sender.sendall(b"x")
            assert receiver.recv(1) == b"x"
        assert theirs.recv(1) == b""  # the other side sees the end, too
    assert set(Path("/proc/self/fd").iterdir()) <= before  # no descriptor was left open


GUARDED = """
    import os, signal, sys, time
    from vaeflow.distributed.heartbeat.guardian import Guardian
    guardian = Guardian(0.5)
    print(guardian._process.pid, flush=True)
    for _ in range(10):
        time.sleep(0.1)
        guardian.beat()
    print("lives", flush=True)
    sys.argv[1] == "close" and guardian.close()
    sys.argv[1] == "stop" and os.kill(os.getpid(), signal.SIGSTOP)
    sys.argv[1] == "die" and os._exit(3)
"""


@pytest.mark.parametrize(("how", "code"), [("close", 0), ("stop", -signal.SIGKILL), ("die", 3)])
def test_a_guardian_kills_a_hung_process_and_outlives_none(how, code):
    done = subprocess.run([sys.executable, "-c", dedent(GUARDED), how], capture_output=True, text=True, timeout=60)
    pid, lives = done.stdout.splitlines()
    assert (done.returncode, lives) == (code, "lives"), done.stderr
    seconds_until(lambda: gone(int(pid)), 5)


FAILING = """
    from vaeflow import Component, hookimpl
    from vaeflow.callbacks import Callback
    class Failing(Callback):
        def on_steps(self, run, step):
            raise ValueError("no such thing")
    @hookimpl
    def vaeflow_components():
        yield Component("callback", "failing", lambda: Failing())
"""


@pytest.mark.distributed
@pytest.mark.parametrize(("kind", "count"), usual(JOBS, "horovod x3"))
def test_a_chief_that_fails_takes_the_others_with_it(tmp_path, digits, kind, count):
    plugin = tmp_path / "failing.py"
    plugin.write_text(dedent(FAILING))
    settings = [*on(digits, *LONG, *SMALL), "callbacks=['failing']", "--plugin", plugin]
    finished = finish(begin(kind, count, "train", "mnist-2d", "--run-dir", tmp_path / "run", *settings))
    printed = "".join(finished.outputs)
    assert len(re.findall(r"callback 'failing' of .*, on_steps: ValueError: no such thing", printed)) == 1
    assert set(finished.codes) == ({1} if kind == "horovod" else {2})


@pytest.mark.distributed
def test_multiworker_names_ranks_that_do_not_come(tmp_path, digits):
    worker = command_line("train", "mnist-2d", "--run-dir", tmp_path / "run", *on(digits), "strategy=multiworker")
    environ = {"TF_CONFIG": tf_configs(3)[0], "VAEFLOW_RENDEZVOUS_TIMEOUT": "1"}
    finished = finish([start(worker, **environ)])
    assert finished.codes == [1]
    assert finished.outputs[0].count("vaeflow: ranks 1, 2 did not connect to 127.0.0.1:") == 1
    assert not (tmp_path / "run").exists()


class TwoOnThisHost:
    """What rank 0 needs of its job to watch rank 1; the offer is kept."""

    rank, chief, count = 0, True, 2

    def gather(self, text):
        return [text, text]

    def broadcast(self, content):
        self.offer = json.loads(content)
        return content


STRANGERS = (b"5\n", b"null\n", b'["\xc3\xa9", 1, "h", 2]\n', b"\xff\xfe\n", b'["x", 1]\n', b"\n")


def test_a_stranger_is_turned_away_and_the_job_goes_on(monkeypatch):
    monkeypatch.setenv("VAEFLOW_SILENCE", "5")
    processes = TwoOnThisHost()
    watch = Watch(processes)
    token, port, *_ = processes.offer
    for said in STRANGERS:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
            stranger.sendall(said)
            assert stranger.recv(100) == b"", said
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        peer.sendall(json.dumps([token, 1, "h", 2]).encode() + b"\n")
        assert peer.recv(100).startswith(b"beat")
    assert "rank 1 (host h, process 2) died" in watch.end().reason
    watch.close()


@pytest.mark.parametrize("seconds", ["x", "0", "-1", "nan", "inf"])
def test_seconds_of_silence_that_make_no_sense_are_one_line(seconds, monkeypatch):
    monkeypatch.setenv("VAEFLOW_SILENCE", seconds)
    with pytest.raises(UsageError, match=f"VAEFLOW_SILENCE='{seconds}' is not a number of seconds above 0"):
        Watch(TwoOnThisHost())
