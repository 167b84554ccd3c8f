"""The launchers: what `vaeflow launch` prints, and what the files of `launch/` do on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from helpers import small_runs
from helpers.fork_server import server
from helpers.jobs import HOROVOD, usual
from helpers.paths import ROOT

from vaeflow.cli import main
from vaeflow.distributed.launching import files
from vaeflow.distributed.launching.templates import with_arguments, with_directives, with_values, with_variables

LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
MANIFESTS = sorted((LAUNCH / "kubernetes").glob("*.yaml"))
SETTINGS = ("dataset=arrays", "dataset.path=a\\b '\"$(c) #")
PRINTED = {
    "local": ["local", "mnist-2d", "--processes=3", "--strategy=multiworker"],
    "hosts": ["hosts", "mnist-2d", "--hosts=a:2,b", "--interface=eth0"],
    "slurm": ["slurm", "mnist-2d", "--nodes=3", "--processes-per-node=2", "--sbatch=time=1:00:00", "--setup=my env.sh"],
    "multiworker": ["slurm", "mnist-2d", "--strategy=multiworker", "--gpus-per-process=1", "--sbatch=exclusive"],
}


def printed(capsys, *arguments: str) -> str:
    """Return what `vaeflow launch` prints."""
    assert main(["launch", *arguments]) == 0
    return capsys.readouterr().out


# The files


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_executable_and_parses(script):
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing():
    done = subprocess.run(["shellcheck", *SCRIPTS], capture_output=True, text=True)
    assert done.stdout == ""


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_valid_yaml_with_matching_counts(manifest):
    job = yaml.safe_load(manifest.read_text())
    assert job["kind"] in ("MPIJob", "TFJob")
    replicas = job["spec"].get("mpiReplicaSpecs") or job["spec"]["tfReplicaSpecs"]
    if "Launcher" in replicas:
        arguments = replicas["Launcher"]["template"]["spec"]["containers"][0]["args"]
        assert arguments[:3] == ["-np", str(replicas["Worker"]["replicas"]), "vaeflow"]


def test_no_file_holds_a_path_of_some_machine():
    texts = {path: path.read_text() for path in LAUNCH.rglob("*") if path.is_file()}
    assert not [path for path, text in texts.items() if re.search(r"/(home|Users|work|root|scratch)/", text)]


def test_the_readme_lists_every_file():
    text = (LAUNCH / "README.md").read_text()
    named = [path.relative_to(LAUNCH).as_posix() for path in LAUNCH.rglob("*") if path.is_file()]
    assert not [name for name in named if name != "README.md" and f"`{name}`" not in text]


def test_the_package_takes_the_files_along():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert built["force-include"] == {"launch": files.PACKAGED.relative_to(ROOT).as_posix()}


def test_a_file_that_is_missing_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(files, "CLONE", tmp_path)
    assert main(["launch", "local", "mnist-2d"]) == 1
    assert re.fullmatch(r"vaeflow: launch/local.sh is missing, .+\n", capsys.readouterr().err)


# What is printed


@pytest.mark.parametrize("arguments", PRINTED.values(), ids=PRINTED)
def test_a_printed_script_parses_and_holds_its_arguments(arguments, capsys, tmp_path):
    text = printed(
        capsys, *arguments, "--run-dir=runs/a b", "--plugin=docs/examples/vaeflow_residual.py", "--", "seed=1"
    )
    script = tmp_path / "script"
    script.write_text(text)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    given = text.partition("\nset -- ")[2].partition("\n")[0]
    assert given.startswith("mnist-2d seed=1 --plugin=docs/examples/vaeflow_residual.py")
    assert "'--run-dir=runs/a b'" in given or "\nRUN_DIR='runs/a b'" in text


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("local", ["PROCESSES=3", "STRATEGY=multiworker"]),
        ("hosts", ["HOSTS=a:2,b", "INTERFACE=eth0"]),
        ("slurm", ["#SBATCH --nodes=3", "#SBATCH --ntasks-per-node=2", "#SBATCH --time=1:00:00", "SETUP='my env.sh'"]),
        ("multiworker", ["#SBATCH --gpus-per-task=1", "#SBATCH --exclusive", "#SBATCH --cpus-per-task=1"]),
    ],
)
def test_a_printed_script_has_the_options(name, lines, capsys):
    found = [line.partition(" #")[0].rstrip() for line in printed(capsys, *PRINTED[name]).splitlines()]
    assert [found.count(line) for line in lines] == [1] * len(lines)


def test_directives_come_before_commands(capsys):
    lines = printed(capsys, *PRINTED["slurm"]).splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert all(line.startswith("#") for line in lines[: last + 1])


@pytest.mark.parametrize(("strategy", "kind"), [("horovod", "MPIJob"), ("multiworker", "TFJob")])
def test_a_printed_manifest_has_the_options(strategy, kind, capsys):
    options = ["--processes=8", f"--strategy={strategy}", "--name=first", "--image=host/v:1", "--gpus=2", "--claim=c"]
    job = yaml.safe_load(printed(capsys, "kubernetes", "mnist-2d", *options, "--", *SETTINGS))
    replicas = job["spec"].get("mpiReplicaSpecs") or job["spec"]["tfReplicaSpecs"]
    worker = replicas["Worker"]["template"]["spec"]
    starter = replicas.get("Launcher", replicas["Worker"])["template"]["spec"]["containers"][0]
    assert (job["kind"], job["metadata"]["name"], replicas["Worker"]["replicas"]) == (kind, "first", 8)
    assert starter["image"] == worker["containers"][0]["image"] == "host/v:1"
    assert worker["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "4Gi", "nvidia.com/gpu": "2"}
    assert worker["volumes"][0]["persistentVolumeClaim"]["claimName"] == "c"
    assert [*starter["command"], *starter["args"]][-6:] == [
        *("mnist-2d", *SETTINGS, f"--strategy={strategy}", "--run-dir=/runs/first", "--resume=auto"),
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["slrum"],
            "vaeflow launch has no command 'slrum'; did you mean 'slurm'? Available: hosts, kubernetes, local,",
        ),
        (["local"], "RECIPE is missing, for example: vaeflow launch local mnist-2d"),
        (["local", "mnist-3d"], "unknown recipe 'mnist-3d'; did you mean 'mnist-2d'?"),
        (["slurm", "mnist-2d", "epoch=1"], "command line: epoch: unknown key; did you mean 'epochs'?"),
        (["local", "mnist-2d", "encoder=resnet"], "command line: encoder: unknown encoder 'resnet'"),
        (
            ["local", "mnist-2d", "--strategy=horovd"],
            "--strategy: 'horovd' does not use several processes; did you mean 'horovod'?",
        ),
        (
            ["local", "mnist-2d", "--strategy=mirrored"],
            "--strategy: mirrored uses one process: run vaeflow train mnist-2d",
        ),
        (["local", "mnist-2d", "--processes=0"], "Invalid value for '--processes': 0 is not in the range x>=1."),
        (
            ["slurm", "mnist-2d", "microbatches=4"],
            "8 processes are more than microbatches = 4: some would be idle",
        ),
        (["hosts", "mnist-2d"], "Missing option '--hosts'"),
        (["hosts", "mnist-2d", "--hosts=a:0"], "--hosts: 'a:0' is not NAME:PROCESSES, such as host1:4,host2:4"),
        (["kubernetes", "mnist-2d", "--name=A_b"], "--name: 'A_b' may only contain a-z, 0-9 and -"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, line, capsys):
    assert main(["launch", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"vaeflow: .+\n", err)
    assert err.removeprefix("vaeflow: ").startswith(line.rstrip("."))


def test_it_prints_without_tensorflow():
    code = "import sys; from vaeflow.cli import main; main(sys.argv[1:]); sys.exit('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "launch", *PRINTED["slurm"]], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_that_is_missing_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert main(["launch", "slurm", "mnist-2d", "--run"]) == 1
    assert capsys.readouterr().err.startswith("vaeflow: sbatch is not on PATH; without --run")


@pytest.mark.parametrize(
    "fill",
    [
        lambda: with_arguments("true\n", []),
        lambda: with_variables("A=1\n", {"A": "2"}),
        lambda: with_values("a: 1  # A", {"B": 2}),
    ],
)
def test_a_line_that_is_not_there_is_an_error(fill):
    with pytest.raises(ValueError, match="has no line"):
        fill()


def test_a_directive_is_replaced_as_a_whole():
    assert with_directives("#SBATCH --time=1\n#SBATCH --time-min=1\n", {"time": "2"}).count("=1\n") == 1


# What the scripts do. A stand-in for `vaeflow` says what it was called with.


def program(path: Path, text: str) -> None:
    """Write a script of bash."""
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put a script of one's own in the place of `vaeflow`; `srun` runs what it is given."""
    (tmp_path / "bin").mkdir()
    for name, text in {"srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"', "vaeflow": "exit 9"}.items():
        program(tmp_path / "bin" / name, text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        (tmp_path / "bin" / "vaeflow").write_text(f"#!/bin/bash\n{text}\n")
        return tmp_path

    return write


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of `launch/` to its end."""
    return subprocess.run(
        [LAUNCH / script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("script", "arguments", "line"),
    [
        ("local.sh", (), "local.sh: which recipe? For example"),
        ("local.sh", ("--processes", "0", "r"), "local.sh: --processes: '0' is not a whole number of at least 1"),
        ("local.sh", ("--strategy", "x", "r"), "local.sh: --strategy: 'x' is not horovod or multiworker"),
        ("local.sh", ("--strategy", "mirrored", "r"), "local.sh: mirrored is one process: vaeflow train r"),
        ("local.sh", ("--restarts", "1", "r"), "local.sh: --restarts needs --run-dir: the run to resume"),
        ("elastic.sh", (), "elastic.sh: which recipe? For example"),
        ("elastic.sh", ("r",), "elastic.sh: RUN_DIR names the run's directory"),
        ("horovodrun.sh", (), "horovodrun.sh: which recipe? For example"),
        ("horovodrun.sh", ("r",), "horovodrun.sh: HOSTS: 'a:b' is not NAME:PROCESSES, such as host1:4"),
        ("slurm-horovod.sbatch", (), "slurm-horovod.sbatch: which recipe? For example"),
        ("slurm-multiworker.sbatch", (), "slurm-multiworker.sbatch: which recipe? For example"),
    ],
)
def test_a_script_that_is_called_wrongly_says_so(script, arguments, line):
    done = run(script, *arguments, HOSTS="a:b", SLURM_JOB_ID="1")
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1


def test_local_gives_each_process_its_place(stand_in):
    folder = stand_in('echo "$TF_CONFIG" > "config-$RANDOM$RANDOM"; echo "$*" > arguments')
    assert run("local.sh", "--processes", "3", "--strategy", "multiworker", "r", "a=b c").returncode == 0
    configs = [json.loads(path.read_text()) for path in folder.glob("config-*")]
    assert sorted(config["task"]["index"] for config in configs) == [0, 1, 2]
    assert len({json.dumps(config["cluster"]) for config in configs}) == 1
    assert len(set(configs[0]["cluster"]["worker"])) == 3
    assert (folder / "arguments").read_text() == "train r a=b c --strategy multiworker\n"


def test_local_gives_each_process_one_of_the_named_gpus(stand_in):
    folder = stand_in('echo "$CUDA_VISIBLE_DEVICES" > "gpu-$RANDOM$RANDOM"')
    command = ("local.sh", "--processes", "2", "--strategy", "multiworker", "r")
    assert run(*command, CUDA_VISIBLE_DEVICES="2,GPU-5").returncode == 0
    assert sorted(path.read_text() for path in folder.glob("gpu-*")) == ["2\n", "GPU-5\n"]
    done = run(*command, CUDA_VISIBLE_DEVICES="3")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("local.sh: --processes 2, but there are 1 GPUs (3)")


def test_local_asks_the_machine_for_its_gpus(stand_in, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    folder = stand_in('echo "${CUDA_VISIBLE_DEVICES-all}" > "gpu-$RANDOM$RANDOM"')
    program(folder / "bin" / "nvidia-smi", 'printf "0\\n1\\n2\\n"')  # in place of one: there are no GPUs here
    command = ("local.sh", "--processes", "2", "--strategy", "multiworker", "r")
    assert run(*command).returncode == 0
    assert sorted(path.read_text() for path in folder.glob("gpu-*")) == ["0\n", "1\n"]
    for path in folder.glob("gpu-*"):
        path.unlink()
    program(folder / "bin" / "nvidia-smi", "exit 9")
    assert run(*command).returncode == 0
    assert {path.read_text() for path in folder.glob("gpu-*")} == {"all\n"}


def test_local_ends_all_with_the_code_of_the_first_failure(stand_in):
    folder = stand_in(
        """echo $$ >> pids
        case $TF_CONFIG in *'"index": 1'*) sleep 0.3; exit 7 ;; esac
        trap '' TERM; sleep 60 & echo $! >> pids; wait; wait; exit 8"""
    )
    begun = time.monotonic()
    done = run("local.sh", "--processes", "3", "--strategy", "multiworker", "r", GRACE="1", PAUSE="0.1")
    assert (done.returncode, done.stderr) == (7, "")
    assert time.monotonic() - begun < 10
    assert not alive(folder)


@pytest.mark.parametrize("code", [0, 5])
def test_local_finds_the_code_of_a_job_that_bash_dropped(code, stand_in):
    folder = stand_in(f"case $TF_CONFIG in *'\"index\": 1'*) exit {code} ;; esac")
    (folder / "dropped").write_text('wait() { [ "$1" != -n ] || { sleep 0.5; return 127; }; builtin wait "$@"; }')
    arguments = ("--processes", "2", "--strategy", "multiworker", "r")
    done = run("local.sh", *arguments, PAUSE="0.1", BASH_ENV=str(folder / "dropped"))
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize(("code", "tries"), [(1, 3), (2, 1), (75, 1)])
def test_local_starts_again_what_died_and_nothing_else(code, tries, stand_in):
    folder = stand_in(f'echo "$*" >> calls; exit {code}')
    arguments = ("--processes", "1", "--strategy", "multiworker", "--restarts", "2", "r", "--run-dir=a")
    done = run("local.sh", *arguments, PAUSE="0.1")
    assert done.returncode == code
    calls = (folder / "calls").read_text().splitlines()
    assert calls == ["train r --run-dir=a --resume auto --strategy multiworker"] * tries
    assert done.stderr.count("all are restarted from the newest checkpoint") == tries - 1


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_local_leaves_no_process_behind(sent, code, stand_in):
    folder = stand_in("echo $$ >> pids; sleep 60 & echo $! >> pids; wait")
    # A shell can't hear signals that were ignored when it began, as HUP is under nohup.
    heard = ["env", "--default-signal=HUP,INT,TERM"]
    command = [*heard, LAUNCH / "local.sh", "--strategy", "multiworker", "r"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        while not (folder / "pids").exists() or len((folder / "pids").read_text().split()) < 4:
            time.sleep(0.05)
        process.send_signal(sent)
        assert process.wait(30) == code
    assert not alive(folder)


def alive(folder: Path) -> list[int]:
    """Return which processes of those that wrote their number still run."""
    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    states = {pid: Path(f"/proc/{pid}/stat") for pid in pids}
    return [pid for pid, path in states.items() if path.exists() and path.read_text().split()[2] != "Z"]


@pytest.mark.parametrize("strategy", ["horovod", "multiworker"])
def test_a_requeued_job_goes_on_from_its_checkpoint(strategy, stand_in):
    folder = stand_in('echo "$*" >> calls')
    script = f"slurm-{strategy}.sbatch"
    assert run(script, "r", "seed=1", SLURM_JOB_ID="5").returncode == 0
    assert run(script, "r", "seed=1", SLURM_JOB_ID="5", SLURM_RESTART_COUNT="1").returncode == 0
    call = f"train r seed=1 --strategy {strategy} --run-dir runs/slurm-5 --resume auto"
    assert (folder / "calls").read_text().splitlines() == [call, call]


@pytest.mark.parametrize(
    ("code", "state", "requeued"), [(75, "RUNNING", True), (75, "COMPLETING", False), (1, "RUNNING", False)]
)
def test_a_job_that_was_asked_to_stop_goes_back_into_the_queue(code, state, requeued, stand_in):
    folder = stand_in(f"exit {code}")
    for name, does in {"squeue": f"echo {state}", "scontrol": 'echo "$*" > asked'}.items():
        program(folder / "bin" / name, does)
    assert run("slurm-horovod.sbatch", "r", SLURM_JOB_ID="5").returncode == code
    assert (folder / "asked").exists() == requeued
    assert not requeued or (folder / "asked").read_text() == "requeue 5\n"


def test_a_batch_file_sources_what_it_is_told(stand_in):
    folder = stand_in('echo "$MADE_BY_SETUP" > seen')
    (folder / "setup.sh").write_text("export MADE_BY_SETUP=yes\n")
    assert run("slurm-horovod.sbatch", "r", SLURM_JOB_ID="5", SETUP="./setup.sh").returncode == 0
    assert (folder / "seen").read_text() == "yes\n"


# Real training


@pytest.fixture(scope="module")
def expected(tmp_path_factory, mnist_content):
    """Arguments of a short run, and the hash of the state that one device ends with."""
    folder = tmp_path_factory.mktemp("expected")
    data = small_runs.write_digits(folder / "digits.npz", mnist_content)
    arguments = ["mnist-2d", *small_runs.on(data, "microbatches=4", "steps=4")]
    done = small_runs.vaeflow("train", *arguments, "--strategy=single", "--run-dir", folder / "run")
    assert done.returncode == 0, done.stderr
    return arguments, small_runs.summary(folder / "run")["state_sha256"]


BOTH = [
    pytest.param("horovod", id="horovod", marks=[pytest.mark.horovod, HOROVOD]),
    pytest.param("multiworker", id="multiworker"),
]


def launch(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `vaeflow launch local ARGUMENTS` to its end."""
    command = small_runs.forking_line("launch", "local", *arguments)
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("strategy", usual(BOTH, "multiworker"))
def test_launch_local_run_trains_to_the_same_bits(strategy, expected, tmp_path):
    arguments, state = expected
    done = launch(f"--strategy={strategy}", "--run", f"--run-dir={tmp_path / 'run'}", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    found = small_runs.summary(tmp_path / "run")
    assert (found["strategy"], found["replicas"], found["state_sha256"]) == (strategy, 2, state)


@pytest.mark.distributed
@pytest.mark.parametrize("strategy", usual(BOTH, "horovod"))
def test_local_ends_with_the_code_of_vaeflow(strategy, tmp_path, monkeypatch):
    with_tools(monkeypatch)
    done = run("local.sh", "--strategy", strategy, "mnist-2d", "epoch=1")
    assert done.returncode == 2
    assert done.stderr.count("epoch: unknown key; did you mean 'epochs'?") == 1


def with_tools(monkeypatch) -> None:
    """Put this tree's `vaeflow` and `horovodrun` on PATH."""
    monkeypatch.setenv("PATH", f"{server().programs}{os.pathsep}{os.environ['PATH']}")


def processes_with(argument: object) -> list[int]:
    """Return the numbers of the processes that have an argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(argument).encode() in (path / "cmdline").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return found


@pytest.mark.slow
@pytest.mark.distributed
def test_the_same_command_resumes_a_local_job_that_was_killed(expected, tmp_path):
    arguments, state = expected
    run_dir = tmp_path / "run"
    command = ["--strategy=multiworker", "--run", f"--run-dir={run_dir}", "--resume=auto"]
    command += [*arguments, "checkpoint.every_steps=1"]
    start = small_runs.forking_line("launch", "local", *command)
    with subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while not list(run_dir.glob("checkpoints/step-*[1-9]")):
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.01)
        for number in processes_with(f"--run-dir={run_dir}"):
            if number != process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert not (run_dir / "summary.json").exists()
    done = launch(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming from step" in done.stdout
    assert small_runs.summary(run_dir)["state_sha256"] == state


@pytest.mark.parametrize("arguments", [["local", "r"], ["hosts", "r", "--hosts=a:2"]])
def test_resume_auto_of_a_job_needs_a_directory(arguments, capsys):
    assert main(["launch", *arguments, "--resume=auto"]) == 2
    assert "--resume auto needs --run-dir, for example" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["local", "mnist-2d"], ["hosts", "mnist-2d", "--hosts=a:2"]])
def test_resume_auto_is_handed_on(arguments, capsys):
    assert main(["launch", *arguments, "--run-dir=runs/a", "--resume=auto"]) == 0
    assert "\nset -- mnist-2d --run-dir=runs/a --resume=auto\n" in capsys.readouterr().out
