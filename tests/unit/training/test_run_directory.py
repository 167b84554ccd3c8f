"""What a kill or a stranger leaves in a run directory: used rightly, or named in one line; nothing outside changes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest
from helpers.small_runs import command_line, on, python, rows, summary, train, tree, vaeflow, write_digits
from helpers.tiers import few, repeated

from vaeflow.cli import main
from vaeflow.errors import FileError
from vaeflow.files.read import parse_json, parse_toml, read_bytes, read_json, read_text
from vaeflow.files.write import written_aside
from vaeflow.training.run_files.directory import Begun, RunDirectory

SETTINGS = ("steps=12", "checkpoint.every_steps=3", "plots.draw=['samples']")
PATIENCE = 60.0  # seconds that one command in this process may take on a busy machine
pytestmark = pytest.mark.slow  # each trains a small model


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits):
    return train(tmp_path_factory.mktemp("finished") / "run", digits, *SETTINGS)


@pytest.fixture(scope="module")
def other(tmp_path_factory, digits):
    """A run of another seed."""
    return train(tmp_path_factory.mktemp("other") / "run", digits, *SETTINGS, "seed=1")


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def halfway(run):
    """The run as if it had been killed before its last checkpoint: step 9 is the newest."""
    (run / "summary.json").unlink()
    shutil.rmtree(run / "plots")
    shutil.rmtree(run / "checkpoints/step-000000012")
    return run


@pytest.fixture
def outside(tmp_path, finished):
    """A folder beside the run that looks like one, and that nothing may change."""
    return shutil.copytree(finished, tmp_path / "outside")


class Command:
    """Calls the command in this process. Whatever it meets: no traceback, no bug, no hang."""

    def __init__(self, capfd, digits, finished):
        self.capfd, self.digits, self.finished = capfd, digits, finished

    def __call__(self, *arguments, code=0):
        """Return what it printed, or the one line of the error."""
        started = time.monotonic()
        found = main([str(argument) for argument in arguments])
        out, err = self.capfd.readouterr()
        assert found == code, (out, err)
        assert time.monotonic() - started < PATIENCE
        assert "this is a bug" not in err
        assert "Traceback" not in err
        return out if code == 0 else one_line(err)

    def train(self, run, *settings, code=0):
        return self("train", "mnist-2d", "--run-dir", run, *on(self.digits, *SETTINGS, *settings), code=code)

    def auto(self, run, code=0):
        return self.train(run, "--resume", "auto", code=code)

    def to_the_end(self, run):
        """Resume to the end of the run that nobody disturbed; return what was said."""
        out = self("resume", run)
        assert summary(run) == summary(self.finished)
        assert not list(run.rglob("*.partial"))
        return out


@pytest.fixture
def command(capfd, digits, finished):
    return Command(capfd, digits, finished)


def one_line(err):
    lines = [line for line in err.splitlines() if line.startswith("vaeflow: ")]
    assert len(lines) == 1, err
    return lines[0].removeprefix("vaeflow: ")


def remove_all_but(run, *kept):
    for path in list(run.iterdir()):
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


# The one rule of what it means that nothing has begun


PARTIAL = ".config.toml.4711-0a1b2c3d.partial"


def test_what_has_begun(run):
    directory = RunDirectory(run)
    assert directory.begun() is Begun.TRAINED
    shutil.rmtree(run / "checkpoints")
    assert directory.begun() is Begun.LOST
    remove_all_but(run, "config.toml", ".lock")
    assert directory.begun() is Begun.UNTOUCHED
    (run / "checkpoints/.step-000000000.4711.partial").mkdir(parents=True)
    (run / "environment.json").touch()
    (run / PARTIAL).touch()
    assert directory.begun() is Begun.UNTOUCHED
    (run / "notes.txt").touch()
    assert directory.begun() is Begun.LOST
    (run / "config.toml").unlink()
    assert directory.begun() is Begun.OTHER
    remove_all_but(run, PARTIAL, ".lock")
    assert directory.begun() is Begun.NOTHING


@pytest.mark.parametrize(
    ("left", "resume"),
    [
        ([], "auto"),
        ([".lock", PARTIAL], "never"),
        repeated([], "never"),
        repeated([".lock"], "auto"),
        repeated([".lock"], "never"),
        repeated([".lock", PARTIAL], "auto"),
    ],
    ids=str,
)
def test_killed_before_the_config_was_there(left, resume, tmp_path, finished, command):
    (run := tmp_path / "run").mkdir()
    for name in left:
        (run / name).touch()
    command.train(run, "--resume", resume)
    assert summary(run) == summary(finished)
    assert not list(run.rglob("*.partial"))


KILL_BEFORE_CONFIG = """
import os, signal, sys
from vaeflow.training.run_files.directory import RunDirectory
RunDirectory.describe = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from vaeflow.cli import main
main(sys.argv[1:])
"""


def test_a_kill_between_lock_and_config(tmp_path, digits, finished):
    run = tmp_path / "run"
    arguments = ["train", "mnist-2d", "--run-dir", str(run), "--resume", "auto", *on(digits, *SETTINGS)]
    done = subprocess.run([*python(), "-c", KILL_BEFORE_CONFIG, *arguments], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in run.iterdir()] == [".lock"]
    done = vaeflow("resume", run)
    assert done.returncode == 2
    assert one_line(done.stderr) == (
        f"{run} is not a run directory: it has no config.toml; no run was started there: `vaeflow train` can use it"
    )
    done = vaeflow(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert summary(run) == summary(finished)


@pytest.mark.parametrize(
    ("environment", "how"), [(True, "auto"), (False, "resume"), repeated(True, "resume"), repeated(False, "auto")]
)
def test_killed_before_the_first_checkpoint(environment, how, run, finished, command):
    remove_all_but(run, "config.toml", ".lock", *(["environment.json"] if environment else []))
    if environment:
        (run / "environment.json").write_text("{")
    (run / "checkpoints/.step-000000000.4711.partial/half").mkdir(parents=True)
    out = command("resume", run) if how == "resume" else command.auto(run)
    assert f"{run}: stopped before its first checkpoint; restarting at step 0" in out
    assert summary(run) == summary(finished)
    assert json.loads((run / "environment.json").read_text())["replicas"] == 1
    assert tree(run).keys() == tree(finished).keys()


def test_a_cut_config_before_the_first_checkpoint(run, command):
    remove_all_but(run, "config.toml")
    config = (run / "config.toml").read_text()
    for text, what in (
        (config[: config.index("[evaluate]")], "is missing"),
        (config[:-1], "its last line is truncated"),
    ):
        (run / "config.toml").write_text(text)
        line = command("resume", run, code=2)
        assert line.startswith(f"{run}/config.toml is incomplete: ")
        assert what in line
        assert set(tree(run)) == {"config.toml"}


@pytest.mark.parametrize("left", ["summary.json", "metrics.jsonl", "plots", "environment-000000003.json", "notes.txt"])
def test_a_run_with_lost_checkpoints_is_not_restarted(left, run, digits, command):
    (run / "notes.txt").touch()
    (run / "environment-000000003.json").touch()
    remove_all_but(run, "config.toml", "environment.json", ".lock", left)
    before = tree(run)
    for line in (
        command("resume", run, code=1),
        command("evaluate", run, code=1),
        command.auto(run, code=1),
    ):
        assert line == (
            f"{run}: the checkpoints are missing, but {left} shows that the run was trained; nothing was changed. "
            "Restore the checkpoints, or train in another directory"
        )
    assert "already exists" in command("train", "mnist-2d", "--run-dir", run, *on(digits, *SETTINGS), code=2)
    assert tree(run) == before


def test_a_lost_config_is_in_each_checkpoint(run, command):
    (run / "config.toml").unlink()
    for line in (command("resume", run, code=2), command.auto(run, code=2)):
        assert line == (
            f"{run} is not a run directory: it has no config.toml; each checkpoint has a copy of it, which can be "
            "restored"
        )


def test_lost_metrics_are_named(halfway, finished, command):
    (halfway / "metrics.jsonl").unlink()
    out = command.to_the_end(halfway)
    path = halfway / "metrics.jsonl"
    assert f"warning: {path} is missing: the log up to step 9 is lost; the run resumes" in out
    assert [row["step"] for row in rows(halfway)] == [row["step"] for row in rows(finished) if row["step"] > 9]


def test_partial_files_of_a_killed_process_go(halfway, finished, command):
    (halfway / "plots/epoch-001").mkdir(parents=True)
    (halfway / "tensorboard").mkdir()
    names = ["", "plots", "plots/epoch-001", "tensorboard", "checkpoints"]
    for name in names:
        (halfway / name / ".latents.png.4711.partial").touch()
    (halfway / "checkpoints/.step-000000012.4711.partial").mkdir()
    (halfway / "kept.partial").touch()
    command("resume", halfway)
    assert [path.name for path in halfway.rglob("*.partial")] == ["kept.partial"]
    assert summary(halfway) == summary(finished)


# Names that lead out of the directory, or block


def linked(path, outside):
    path.symlink_to(outside)


def dangling(path, outside):
    path.symlink_to(outside.parent / "nowhere")


def fifo(path, outside):
    os.mkfifo(path)


def directory(path, outside):
    path.mkdir()
    (path / "kept").touch()


def a_socket(path, outside):
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):  # such a path is short
        server.bind(path.name)


KINDS = {
    linked: "a symbolic link",
    dangling: "a symbolic link",
    fifo: "a FIFO",
    directory: "a directory",
    a_socket: "a socket",
}
FILES = ["config.toml", "environment.json", "environment-000000003.json", "summary.json", "init.json", "metrics.jsonl"]
FILES += [".lock", "evaluation-test.json", "plots/curves.png", "tensorboard/events.out.tfevents.1.x"]
FOLDERS = ["checkpoints", "plots", "tensorboard", "plots/epoch-001"]


def strange(run, name, harm, outside):
    """Put something else under a name of the run."""
    path, target = run / name, outside / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    for one in (path, target):
        one.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.mkdir() if name in FOLDERS else target.touch()
    harm(path, target)
    return path


@pytest.mark.parametrize("harm", KINDS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", FILES + FOLDERS)
def test_a_name_that_is_something_else_is_refused(name, harm, run, outside, command):
    if name in FOLDERS and harm is directory:
        pytest.skip("it is one")
    path = strange(run, name, harm, outside)
    before, beside = names(run), tree(outside)
    wanted = "a directory" if name in FOLDERS else "a regular file"
    expected = f"{path} is {KINDS[harm]}, not {wanted}: vaeflow does not use it, and nothing was changed"
    for called in ("resume", "evaluate"):
        assert command(called, run, code=2).startswith(expected)
    assert names(run) == before
    assert tree(outside) == beside


def names(folder):
    return {str(path.relative_to(folder)): path.lstat().st_mode for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", ".lock"])
def test_links_are_refused_by_every_command(name, run, outside, tmp_path, command):
    strange(run, name, linked, outside)
    before = tree(outside)
    for called in ("sample", "plot"):
        assert "is a symbolic link" in command(called, run, code=2)
    assert "is a symbolic link" in command.auto(run, code=2)
    line = command.train(tmp_path / "new", f"init_from={run}", code=2)
    assert line.startswith("init_from: ")
    assert "is a symbolic link" in line
    assert not (tmp_path / "new").exists()
    assert tree(outside) == before


def test_a_lock_that_is_a_link_in_an_empty_directory(tmp_path, command):
    (run := tmp_path / "run").mkdir()
    (run / ".lock").symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in command.auto(run, code=2)
    assert not (tmp_path / "elsewhere").exists()


def test_a_run_that_is_reached_over_a_link(halfway, tmp_path, command):
    (tmp_path / "link").symlink_to(halfway)
    (halfway / "notes").symlink_to(tmp_path)  # not a name of ours
    command.to_the_end(tmp_path / "link")
    assert (halfway / "notes").is_symlink()


def test_a_path_with_brackets(tmp_path, digits, finished, command):
    run = tmp_path / "a[1]*?{x}"
    settings = on(digits, *SETTINGS, "log.tensorboard=true")
    command("train", "mnist-2d", "--run-dir", run, *settings)
    assert summary(run) == summary(finished)
    shutil.rmtree(run / "checkpoints/step-000000012")
    (run / "summary.json").unlink()
    command.to_the_end(run)
    for name in ("evaluate", "sample", "plot"):
        command(name, run)
    command.train(tmp_path / "new", f'init_from="{run}"')


# Files that are damaged


def deep(path):
    path.write_text("[" * 100_000)


def deep_objects(path):
    path.write_text('{"a":' * 900 + "1" + "}" * 900)


def half(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def emptied(path):
    path.write_bytes(b"")


def an_array(path):
    path.write_text("[1]")


def latin(path):
    path.write_bytes(b'{"a": "caf\xe9"}')


def infinite(path):
    path.write_text('{"steps": 1e400}')


def digits_5000(path):
    path.write_text(f'{{"steps": {"9" * 5000}}}')


def huge(path):
    os.truncate(path, 1 << 40)


DAMAGES = [deep, deep_objects, half, emptied, an_array, latin, infinite, digits_5000, huge]


@pytest.mark.parametrize("harm", few(DAMAGES, half, infinite), ids=lambda harm: harm.__name__)
def test_a_damaged_environment_is_named(harm, halfway, command):
    harm(halfway / "environment.json")
    out = command.to_the_end(halfway)
    assert f"the run's original environment can't be read ({halfway}/environment.json: " in out
    command("evaluate", halfway)


@pytest.mark.parametrize("how", ["resume", "auto"])
@pytest.mark.parametrize("harm", DAMAGES, ids=lambda harm: harm.__name__)
def test_a_damaged_summary_is_written_again(harm, how, run, finished, command):
    harm(run / "summary.json")
    out = command("resume", run) if how == "resume" else command.auto(run)
    assert (
        f"{run}: already finished at step 12 of 12; its summary was written again from the newest checkpoint (" in out
    )
    assert summary(run) == summary(finished)


def test_a_summary_of_another_run_is_written_again(run, other, command):
    shutil.copy(other / "summary.json", run / "summary.json")
    out = command.to_the_end(run)
    assert f"its summary was written again from the newest checkpoint ({run}/summary.json: seed is wrong)" in out
    changed = json.loads((run / "summary.json").read_text())
    changed["metrics"]["test/elbo"] += 1.0
    (run / "summary.json").write_text(json.dumps(changed))
    assert "metrics is wrong" in command.to_the_end(run)
    assert "nothing was changed" in command.to_the_end(run)


def test_metrics_that_are_no_rows_are_dropped(halfway, finished, command):
    strange = [b'{"step": 1e400, "epoch": 1}', b"[" * 100_000, b"x" * (3 << 20), b'{"step": 1, "epoch": "\xff"}']
    strange += [b'{"step": -1, "epoch": 1}', b'{"step": 5, "epoch": 1, "train/elbo": "x"}', b"", b"[1]", b"9" * 5000]
    path = halfway / "metrics.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in strange) + path.read_bytes())
    out = command.to_the_end(halfway)
    assert f"warning: {path}: {len(strange)} lines could not be read and were dropped" in out
    assert rows(halfway) == rows(finished)


def test_metrics_that_are_no_rows_are_not_drawn(run, command):
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(
            b'{"step": 1e400}\n{"train/elbo": "x", "epoch": "\xff"}\n[[[\n{"step": 3, "epoch": 1, "test/elbo": ['
        )
    command("plot", run)


def test_a_huge_metrics_file_is_refused(halfway, command):
    os.truncate(halfway / "metrics.jsonl", 1 << 40)
    assert f"at most {8 << 30} are allowed" in command("resume", halfway, code=2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[" + b"a." * 1000 + b"a]\nb = 1\n", "nested deeper than 64"),
        (b"a." * 100_000 + b"a = 1", "nested deeper than 64"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "nested deeper than 64"),
        (b"a = " + b"{a=" * 5000, "nested deeper than 64"),
        (b"seed = " + b"9" * 5000, "an integer has more than 64 bits"),
        (b"seed = " + b"9" * 30, "an integer has more than 64 bits"),
        (b"#" * (1 << 20) + b"\n", "it has 1048577 bytes; at most 1048576 are allowed"),
        (b"name = 'caf\xe9'", "not a text file in UTF-8 (byte 11)"),
    ],
    ids=["tables", "keys", "arrays", "inline", "5000 digits", "30 digits", "1 MiB", "latin"],
)
def test_toml_that_is_too_much(text, expected, run, tmp_path, command):
    mine = tmp_path / "mine.toml"
    for path in (mine, run / "config.toml"):
        path.write_bytes(text)
    assert command("train", mine, "--run-dir", tmp_path / "new", code=2) == f"{mine}: {expected}"
    assert command("resume", run, code=2) == f"{run}/config.toml: {expected}"
    assert command.auto(run, code=2) == f"{run}/config.toml: {expected}"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (f"encoder.hidden={'[' * 5000}", "command line: encoder.hidden: nested deeper than 64"),
        (f"seed={'9' * 5000}", "command line: seed: an integer has more than 64 bits"),
        (f"{'a.' * 1000}a=1", "nested deeper than 64"),
    ],
    ids=["arrays", "digits", "tables"],
)
def test_a_setting_that_is_too_much(setting, expected, command):
    line = command("train", "mnist-2d", setting, "--dry-run", code=2)
    assert expected in line
    assert len(line) < 300


def test_a_config_that_is_no_regular_file(tmp_path, command):
    os.mkfifo(tmp_path / "fifo.toml")
    assert command("train", tmp_path / "fifo.toml", code=2).endswith("it is a FIFO, not a regular file")
    (tmp_path / "device.toml").symlink_to("/dev/zero")
    assert command("train", tmp_path / "device.toml", code=2).endswith("it is a device, not a regular file")


@pytest.mark.parametrize("name", ["data.npz", "data.npy", "data"])
def test_data_that_is_a_fifo(name, tmp_path, command):
    os.mkfifo(tmp_path / name)
    arguments = ["train", "mnist-2d", "dataset=arrays", f"dataset.path={tmp_path / name}", "--dry-run"]
    command(*arguments, code=2)


# The reader and the writer by themselves


def test_the_reader_opens_regular_files_alone(tmp_path):
    (tmp_path / "file").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    assert read_json(tmp_path / "file") == {}
    assert read_text(tmp_path / "link", follow=True) == "{}"
    for name, what in (("link", "a symbolic link"), ("fifo", "a FIFO"), (".", "a directory")):
        with pytest.raises(FileError, match=f"it is {what}, not a regular file"):
            read_bytes(tmp_path / name)
    with pytest.raises(FileError, match="it is a device"):
        read_bytes(tmp_path / "../../../../../../../dev/zero")
    with pytest.raises(FileError, match="No such file"):
        read_bytes(tmp_path / "none")
    with pytest.raises(FileError, match="it has 2 bytes; at most 1 are allowed"):
        read_bytes(tmp_path / "file", limit=1)


def test_what_is_not_valid_says_what():
    for text, what in (
        ("{", "not valid JSON"),
        ("[" * 65 + "]" * 65, "nested deeper than 64"),
        ('{"a": NaN}', "a number is not finite"),
        ('"\\ud800"', "half a character"),
    ):
        with pytest.raises(FileError, match=rf"^x: .*{what}"):
            parse_json(text, "x")
    assert parse_json("[" * 64 + "]" * 64, "x")
    with pytest.raises(FileError, match=r"^x: not valid TOML"):
        parse_toml("a", "x")
    for key in ("a.", '"a b" . ', "'a'."):
        with pytest.raises(FileError, match=r"^x: nested deeper"):
            parse_toml(f"{key * 70}a = 1", "x")


def half_written(path):
    with written_aside(path) as aside:
        aside.write_text("half")
        (path.parent / "nowhere/file").touch()


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(OSError, match="No such file"):
        half_written(path)
    assert tree(tmp_path) == {"file": b"before"}
    with written_aside(path) as aside:
        aside.write_text("after")
        assert path.read_text() == "before"
    assert tree(tmp_path) == {"file": b"after"}


# Processes that matter: one that holds the directory while another looks at it


def test_two_processes_begin_in_one_directory(tmp_path, digits, finished):
    run = tmp_path / "run"
    arguments = ["train", "mnist-2d", "--run-dir", str(run), "--resume", "auto", *on(digits, *SETTINGS)]
    both = [
        subprocess.Popen(command_line(*arguments), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=120) for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 2]), ends  # the later one finds the run finished, or in use
    assert summary(run) == summary(finished)
