"""Strange values, files, environments and streams: one line and an exit code, never a hang, an echo or a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from helpers.small_runs import RUN, command_line, on, vaeflow
from hypothesis import given
from hypothesis import strategies as st

from vaeflow.cli import main
from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.config.schema import Config
from vaeflow.config.values import require_representable
from vaeflow.echo import LONGEST_LINE, one_line, shown
from vaeflow.errors import UsageError, VaeflowError, nearest
from vaeflow.plugins.registry import Registry

HUGE = "x" * 10**8  # 100 MB
SECONDS = 5


def line_of(arguments, capfd):
    """Run the command here and return its one line of error, without the place."""
    assert main(["train", "mnist-2d", "--dry-run", *arguments]) == 2
    out, err = capfd.readouterr()
    assert not out
    assert err.count("\n") == 1
    return err.removeprefix("vaeflow: ").removeprefix("command line: ").rstrip("\n")


# Values


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("learning_rate=1e308", "learning_rate: 1e+308 is infinite in float32: numbers are at most"),
        ("learning_rate=1e-50", "learning_rate: 1e-50 is 0 in float32: positive numbers are at least 1.2e-38"),
        ("optimizer.epsilon=1e300", "optimizer.epsilon: 1e+300 is infinite in float32"),
        ("clip_norm=nan", "clip_norm: nan is not a number"),
        (f"latent_size={10**30}", "latent_size: an integer has more than 64 bits"),
        (f"encoder.hidden=[{10**30}]", "encoder.hidden: an integer has more than 64 bits"),
        ('dataset.path="a\\u0000b"', r"dataset.path: 'a\x00b' contains a NUL character"),
        ("name=\udcff", r"name: '\udcff' is not text in UTF-8"),
        ("encoder=\x1b[31mx", r"encoder: unknown encoder '\x1b[31mx'"),
    ],
)
def test_a_value_that_is_another_one_in_use_is_refused(setting, line, capfd):
    assert line_of(["encoder=mlp", "optimizer=adam", setting], capfd).startswith(line)


PLUGIN = """
from vaeflow import Component, hookimpl


def odd(x_shape: tuple[int, ...], *, scale: float = 1e200):
    raise AssertionError


@hookimpl
def vaeflow_components():
    yield Component("encoder", "odd", odd)
"""


def test_plugin_options_must_be_representable_too(tmp_path):
    file = tmp_path / "odd.py"
    file.write_text(PLUGIN)
    registry = Registry.load([str(file)])
    for settings, value in ([], "1e+200"), (["encoder.scale=1e-200"], "1e-200"):
        with pytest.raises(UsageError, match=f"encoder.scale: {value} is".replace("+", r"\+")):
            resolve(compose("mnist-2d", ["encoder=odd", *settings]), registry)


@given(st.floats() | st.integers())
def test_every_number_is_kept_or_refused(number):
    try:
        require_representable({"a": [{"b": number}]}, lambda _: None)
    except UsageError:
        return
    if isinstance(number, float):
        with np.errstate(over="ignore", under="ignore"):
            there = float(np.float32(number))
        assert np.isfinite(there) == np.isfinite(number)
        assert bool(there) == bool(number)
    else:
        assert np.int64(number) == number


@pytest.mark.parametrize("config", [{"learning_rate": 1e308}, {"latent_size": 10**5000}, {"init_from": "a\0b"}])
def test_the_rule_holds_for_a_config_made_in_python(config):
    with pytest.raises(UsageError, match=next(iter(config))):
        resolve(Config(**config), Registry.load(()))


# Echoes


@pytest.mark.parametrize(
    "config",
    [
        lambda: Config(encoder=HUGE),
        lambda: Config(encoder={"name": "mlp", HUGE: 1}),
        lambda: Config(encoder={"name": "mlp", "hidden": HUGE}),
        lambda: Config(transforms=(HUGE,)),
    ],
    ids=["name", "key", "value", "list"],
)
def test_a_huge_name_is_not_echoed(config):
    began = time.monotonic()
    with pytest.raises(UsageError) as error:
        resolve(config(), Registry.load(()))
    assert time.monotonic() - began < SECONDS
    assert len(str(error.value)) <= LONGEST_LINE
    assert "xxx" in str(error.value)


def test_names_among_many_are_bounded():
    began = time.monotonic()
    assert nearest(HUGE, ["adam", "sgd"]) == "available: adam, sgd"
    assert nearest("adm", [f"run-{n}" for n in range(10**5)]).endswith(", and 99800 more")
    assert time.monotonic() - began < SECONDS


@given(st.text())
def test_an_error_is_one_printable_line(text):
    line = str(VaeflowError(text))
    assert line.isprintable() or any(c.isspace() for c in line)
    assert not any(ord(c) < 32 or c == "\x7f" for c in line)
    assert one_line(line) == line


@given(st.recursive(st.none() | st.text() | st.integers() | st.floats(), lambda s: st.lists(s) | st.tuples(s)))
def test_what_is_shown_of_a_value_is_short(value):
    assert len(shown(value)) <= 63


# Files


@pytest.mark.parametrize("name", ["data.npz", "data.npy", "data"])
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_only_regular_files_are_read(name, kind, tmp_path, capfd):
    path = tmp_path / name
    os.mkfifo(path) if kind == "fifo" else path.symlink_to("/dev/zero")
    settings = ["dataset=idx", f"dataset.train_images={path}"] if name == "data" else on(path)
    expected = f"{path}: it is {'a FIFO' if kind == 'fifo' else 'a device'}, not a regular file"
    assert line_of(settings, capfd) == expected


def test_an_archive_that_grows_past_the_memory_is_refused(tmp_path, capfd, monkeypatch):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", bytes(200 * 2**20))
    monkeypatch.setattr("vaeflow.data.sets.npy.fits", lambda size: size < 100 * 2**20)
    line = line_of(on(path), capfd)
    assert line.startswith(f"{path}: x_train.npy is compressed and needs 200 MiB of memory, more than is available")


def test_a_home_directory_that_is_not_there(capfd, monkeypatch):
    assert "~nobody-here/x.npz: there is no such home" in line_of(on("~nobody-here/x.npz"), capfd)
    monkeypatch.setenv("VAEFLOW_DATA_DIR", "~nobody-here")
    assert "~nobody-here: there is no such home directory" in line_of([], capfd)


def test_a_run_directory_whose_name_is_no_text(tmp_path, capfd):
    assert line_of(["--run-dir", f"{tmp_path}/\udcff"], capfd).endswith("is not text in UTF-8")


# Streams and environments


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_streams(closed):
    """What opens a file next must not get the number of standard error."""

    def close():
        for number in closed:
            os.close(number)

    for arguments, code in (["recipes"], 0), (["train", "nope"], 2):
        done = subprocess.run(command_line(*arguments, plain=True), capture_output=True, preexec_fn=close, timeout=60)
        assert done.returncode == code
        assert b"Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["recipes"], ["--help"]])
def test_a_disk_that_is_full_is_said(arguments):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = vaeflow(*arguments, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "vaeflow: disk: No space left on device\n")


def test_too_little_memory_for_tensorflow_is_said(tmp_path, mnist_content):
    np.savez(tmp_path / "data.npz", x_train=mnist_content.x_train[:64])
    script = f"import resource; resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9)); {RUN}"
    called = [sys.executable, "-c", script, "train", "mnist-2d", *on(tmp_path / "data.npz"), "--dry-run"]
    done = subprocess.run(called, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("vaeflow: TensorFlow can't be imported: ")
