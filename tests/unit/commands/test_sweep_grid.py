"""The grid of a sweep: its runs, their names, and what is refused."""

from __future__ import annotations

import subprocess

import pytest

from vaeflow.cli import main
from vaeflow.commands.sweep import Sweep, slurm_array, values_of
from vaeflow.errors import UsageError


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("seed=0..2", ["seed=0", "seed=1", "seed=2"]),
        ("seed=-1..0", ["seed=-1", "seed=0"]),
        ("objective=elbo,iwae", ["objective=elbo", "objective=iwae"]),
        ("encoder.hidden=[8,8],[16]", ["encoder.hidden=[8,8]", "encoder.hidden=[16]"]),
        ("objective={name='a,b'},elbo", ["objective={name='a,b'}", "objective=elbo"]),
        ('name="a,b"', ['name="a,b"']),
        ("plots.draw=[]", ["plots.draw=[]"]),
        ("name=", ["name="]),
    ],
)
def test_values_of_a_setting(setting, values):
    assert values_of(setting) == values


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("seed",), "'seed' is not KEY=VALUE"),
        (("seed=3..1",), "seed=3..1: the range is empty: 3 is larger than 1"),
        (("seed=1,,2",), "seed=1,,2: a value between commas is empty"),
        (("seed=1,1",), "seed=1,1: a value is there twice"),
        (("seed=5",), "no setting has several values"),
        (("seed=0..99999",), "at most 10,000 values are allowed"),
        (("seed=0..999", "latent_size=1..999"), "this grid has 999,000 runs; at most 10,000 are allowed"),
    ],
)
def test_what_is_no_grid(tmp_path, settings, message):
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        Sweep("mnist-2d", settings, tmp_path).points()


def test_every_combination_has_a_directory(tmp_path):
    grid = Sweep("mnist-2d", ("steps=3", "seed=0..1", "encoder={name='mlp', hidden=[8]},conv-mnist"), tmp_path)
    points = grid.points()
    assert [point.settings[1] for point in points] == ["seed=0", "seed=0", "seed=1", "seed=1"]
    assert points[1].run_dir == tmp_path / "seed=0,encoder=conv-mnist"
    assert len({point.run_dir for point in points}) == 4
    assert all(point.settings[0] == "steps=3" for point in points)


def test_names_that_would_be_the_same_are_numbered(tmp_path):
    points = Sweep("mnist-2d", ("dataset.path=a/b,a:b",), tmp_path).points()
    assert [point.run_dir.name[:5] for point in points] == ["0000_", "0001_"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnist-2d", "sed=0..2"], "command line: sed: unknown key; did you mean 'seed'?"),
        (["mnist-2d", "latent_size=2,x"], "command line: latent_size: 'x' is not a whole number of at least 1"),
        (["mnist-3d", "seed=0..2"], "unknown recipe 'mnist-3d'; did you mean 'mnist-2d'?"),
        (["mnist-2d", "seed=0..2", "--only", "3"], "--only 3: the grid has 3 runs, 0 to 2"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, capsys, arguments, message):
    assert main(["sweep", *arguments, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_not_used(tmp_path, capsys):
    (tmp_path / "mine").write_text("keep me")
    assert main(["sweep", "mnist-2d", "seed=0..2", "--out", str(tmp_path)]) == 2
    assert "is not empty and has no sweep" in capsys.readouterr().err


def test_the_job_array_is_a_script(tmp_path):
    grid = Sweep("mnist-2d", ("seed=0..2", "encoder.hidden=[8]"), tmp_path / "out")
    script = tmp_path / "sweep.sbatch"
    script.write_text(slurm_array(grid, 3, 2))
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "#SBATCH --array=0-2\n#SBATCH --cpus-per-task=2\n" in script.read_text()
    assert "sweep mnist-2d seed=0..2 'encoder.hidden=[8]'" in script.read_text()
