"""The command: one line and an exit code for whatever is wrong, and no TensorFlow before it must."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys

import click
import pytest
from helpers.plugin_packages import GOOD, site_in

from vaeflow.cli import main
from vaeflow.cli.app import app
from vaeflow.cli.entry import _report
from vaeflow.cli.interrupts import Interrupts
from vaeflow.errors import CheckpointError, UsageError

CALL = "import sys; from vaeflow.cli import main; code = main(sys.argv[1:]);"


@pytest.fixture
def site(tmp_path, monkeypatch):
    with site_in(tmp_path, monkeypatch) as made:
        yield made


def vaeflow(*arguments, after="sys.exit(code)", **options):
    """Run the command in a process of its own."""
    command = [sys.executable, "-c", f"{CALL} {after}", *arguments]
    return subprocess.run(command, check=False, text=True, **{"capture_output": True, **options})


def line_of(arguments, capsys, code=2):
    """Run the command here and return its one line of error."""
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert not out
    assert re.fullmatch(r"vaeflow: .+\n", err), err
    return err.removeprefix("vaeflow: ").rstrip("\n")


# Start-up; how long it takes is measured in benchmarks/start_up.py


@pytest.mark.parametrize("arguments", [["--help"], ["plugins"], ["train", "--list"], ["train", "--help"]])
def test_it_answers_without_tensorflow(arguments):
    done = vaeflow(*arguments, after="sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)) * 9)")
    assert (done.returncode, done.stderr) == (0, "")


def test_bad_input_is_refused_without_tensorflow():
    after = "sys.exit(code + bool({'tensorflow', 'keras'} & set(sys.modules)) * 9)"
    assert vaeflow("train", "mnist-2d", "encoder=resnet", after=after).returncode == 2


# Bad input


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "vaeflow has no command 'trian'; did you mean 'train'? Available: bench, compare, data, doctor,"),
        (["data", "fech"], "vaeflow data has no command 'fech'; did you mean 'fetch'?"),
        (["train"], "RECIPE is missing, for example: vaeflow train mnist-2d"),
        (["train", "mnist-3d"], "unknown recipe 'mnist-3d'; did you mean 'mnist-2d'?"),
        (["train", "nowhere.toml"], "nowhere.toml: No such file or directory"),
        (["train", "mnist-2d", "epoch=2"], "command line: epoch: unknown key; did you mean 'epochs'?"),
        (["train", "mnist-2d", "epochs=many"], "command line: epochs: 'many' is not a whole number of at least 1"),
        (["train", "mnist-2d", "epochs"], "command line: 'epochs' is not KEY=VALUE, such as epochs=5"),
        (["train", "mnist-2d", "epochs=1", "steps=1"], "command line: epochs and steps are both set"),
        (["train", "mnist-2d", "encoder=resnet"], "command line: encoder: unknown encoder 'resnet'"),
        (["train", "mnist-2d", "encoder.widht=3"], "command line: encoder.widht: conv-mnist of vaeflow"),
        (["train", "mnist-2d", "--strategy", "horovd"], "command line: strategy: unknown strategy 'horovd'"),
        (["train", "mnist-2d", "dataset=arrays"], "command line: dataset.path: missing, but arrays of vaeflow"),
        (["train", "mnist-2d", "--run-dir", "."], "--run-dir: . already exists, and a run is never overwritten"),
        (["train", "mnist-2d", "--epochs", "3"], "No such option '--epochs'"),
        (["train", "mnist-2d", "--plugin", "nowhere"], "plugin nowhere (--plugin) was not loaded: there is no module"),
        (["evaluate"], "Missing argument 'RUN'"),
        (["evaluate", "no-such-run"], "no-such-run is not the directory of a run; in .: "),
        (["evaluate", ".", "--split", "x"], "Invalid value for '--split': 'x' is not one of"),
        (["sample", ".", "--count", "0"], "Invalid value for '--count': 0 is not in the range x>=1"),
        (["resume", "no-such-run"], "no-such-run is not the directory of a run"),
        (["plot", "no-such-run"], "no-such-run is not the directory of a run"),
        (["recipes", "x"], "unknown recipe 'x'; available: "),
        (["plugins", "show", "encodr", "mlp"], "unknown kind 'encodr'; did you mean 'encoder'?"),
        (["plugins", "show", "encoder", "mlpp"], "unknown encoder 'mlpp'; did you mean 'mlp'?"),
        (["data", "fetch", "mnits"], "'mnits' is not a published data set: did you mean 'mnist'?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, line, capsys):
    assert line_of(arguments, capsys).startswith(line)


def test_a_setting_that_is_given_as_an_option_is_taught(capsys):
    line = line_of(["train", "mnist-2d", "--batch-size", "3"], capsys)
    assert line.endswith("; config keys are set by KEY=VALUE, such as batch_size=... (see vaeflow train --help)")


def test_a_broken_plugin_that_is_selected_is_one_line(site, capsys):
    site.install(
        GOOD.replace("yield", "yield Component('encoder', 'other', resnet)\n    raise KeyError('boo')\n    yield")
    )
    assert main(["train", "mnist-2d", "encoder=other"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        r"vaeflow: command line: encoder: encoder 'other' can't be used: plugin vaeflow-made 1\.2 .*", error
    )


def test_a_duplicate_plugin_is_one_line(site, capsys):
    site.install(GOOD, "vaeflow-one", "1.0")
    site.install(GOOD, "vaeflow-two", "2.0")
    assert "vaeflow-two 2.0" in line_of(["plugins"], capsys)


# Exceptions


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (UsageError("a\nb"), "vaeflow: a b\n", 2),
        (CheckpointError("a"), "vaeflow: a\n", 1),
        (KeyboardInterrupt(), "vaeflow: interrupted\n", 130),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "vaeflow: x: No space left on device\n", 1),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "vaeflow: x: Permission denied\n", 1),
        (OSError(errno.EROFS, "Read-only file system"), "vaeflow: disk: Read-only file system\n", 1),
        (ValueError("x"), "vaeflow: ValueError: x (this is a bug; VAEFLOW_TRACEBACK=1 shows where)\n", 1),
        (click.exceptions.Exit(4), "", 4),
    ],
)
def test_an_exception_is_one_line_and_a_code(error, line, code, capsys):
    assert _report(error, Interrupts()) == code
    assert capsys.readouterr().err == line


def test_the_traceback_is_there_for_who_asks(monkeypatch, capsys):
    monkeypatch.setenv("VAEFLOW_TRACEBACK", "1")
    main(["recipes", "x"])
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("vaeflow: unknown recipe 'x'")


def test_an_interrupt_ends_with_130(site, capsys):
    name = site.module("raise KeyboardInterrupt")
    assert main(["plugins", "--plugin", name]) == 130
    assert capsys.readouterr().err.strip() == "vaeflow: interrupted"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")  # noqa: PTH110
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = vaeflow("plugins", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


def test_a_pipe_that_nobody_reads_is_quiet():
    reader, writer = os.pipe()
    os.close(reader)
    done = vaeflow("plugins", capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


# What the commands say


def test_every_command_has_a_help_with_an_example(capsys):
    for name, command in app.commands.items():
        commands = [
            [name],
            *([[name, inner] for inner in command.commands] if isinstance(command, click.Group) else []),
        ]
        for arguments in commands:
            assert main([*arguments, "--help"]) == 0
            out = capsys.readouterr().out
            assert f"vaeflow {' '.join(arguments)}" in out.partition("Example")[2], arguments


def test_plugins_lists_by_kind_with_distribution_and_version(site, capsys):
    site.install(GOOD)
    assert main(["plugins"]) == 0
    out = capsys.readouterr().out
    assert "encoder: x [B, *X] to features [B, F]\n" in out
    assert re.search(r"^  resnet +vaeflow-made 1\.2  Residual encoder\.$", out, re.MULTILINE)


def test_plugins_lists_what_was_not_loaded(site, capsys):
    name = site.install("raise RuntimeError('boo')")
    assert main(["plugins"]) == 0
    expected = f"  vaeflow-made 1.2 (module {name}): not loaded: RuntimeError: boo"
    assert capsys.readouterr().out.splitlines()[-1] == expected


def test_show_prints_options_and_docstring(site, capsys):
    path = str(site.path / f"{site.module(GOOD)}.py")
    for arguments in (["show", "encoder", "resnet", "--plugin", path], ["--plugin", path, "show", "encoder", "resnet"]):
        assert main(["plugins", *arguments]) == 0
        out = capsys.readouterr().out
        assert "Residual encoder." in out
        assert "build(x_shape: tuple[int, ...], *, ...) -> keras.Model" in out
        assert "  depth: int = 32  (a whole number)" in out


def test_recipes_are_listed_and_printed(capsys):
    assert main(["recipes"]) == 0
    assert re.search(r"^mnist-2d +vaeflow \S+ +The article: ", capsys.readouterr().out, re.MULTILINE)
    assert main(["recipes", "mnist-2d"]) == 0
    assert 'name = "mnist-2d"' in capsys.readouterr().out


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("vaeflow ")


def test_data_list_says_what_is_cached(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("VAEFLOW_CACHE_DIR", str(tmp_path))
    (tmp_path / "mnist.npz").touch()
    assert main(["data", "list"]) == 0
    mnist, fashion = capsys.readouterr().out.splitlines()
    assert mnist.split() == ["mnist", str(tmp_path / "mnist.npz")]
    assert "not cached; vaeflow data fetch fashion-mnist" in fashion


@pytest.mark.slow
def test_doctor_says_what_there_is_and_what_is_missing():
    done = vaeflow("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    sections = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert sections == ["versions", "devices", "data sets", "plugins", "strategies", "containers"]
    for fact in (
        r"  tensorflow 2\.",
        r"  CPU: \d+ cores; ",
        r"  GPU: ",
        r"  mnist: ",
        r"  single: ready",
        r"  horovod: ",
        r"  builder: (docker|podman|buildah|missing: )",
    ):
        assert re.search(f"^{fact}", done.stdout, re.MULTILINE), fact
