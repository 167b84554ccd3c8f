"""Comparison of runs from the files that they leave; the runs are real and share one short training."""

from __future__ import annotations

import json
import math
import shutil
import statistics

import pytest
from helpers.small_runs import train

from vaeflow.cli import main
from vaeflow.commands.compare import Statistic, compare
from vaeflow.errors import UsageError

pytestmark = pytest.mark.slow  # it trains or samples for seconds

OF = ("steps=4", "log.every_steps=2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, mnist_content):
    from helpers.small_runs import write_digits

    folder = tmp_path_factory.mktemp("compare")
    data = write_digits(folder / "digits.npz", mnist_content, train=64, test=16)
    for size in (2, 3):
        for seed in (0, 1):
            train(folder / "sweep" / f"{size}-{seed}", data, *OF, f"latent_size={size}", f"seed={seed}")
    return folder


def elbos(folder, size):
    paths = [folder / "sweep" / f"{size}-{seed}" / "summary.json" for seed in (0, 1)]
    return [json.loads(path.read_text())["metrics"]["test/elbo"] for path in paths]


def test_seeds_are_grouped(runs):
    found = compare([runs / "sweep"])
    assert [dict(group.settings) for group in found.groups] == [{"latent_size": 2}, {"latent_size": 3}]
    for group, size in zip(found.groups, (2, 3), strict=True):
        values = elbos(runs, size)
        one = group.metrics["test/elbo"]
        assert one.values == tuple(values)
        assert one.mean == pytest.approx(statistics.fmean(values))
        assert one.error == pytest.approx(statistics.stdev(values) / math.sqrt(2))
    assert found.differences == ()


def test_the_table_and_json(runs, capsys):
    assert main(["compare", str(runs / "sweep"), "--metric", "test/elbo"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["runs", "test/elbo"]
    mean = statistics.fmean(elbos(runs, 2))
    assert rows[0].startswith(f"latent_size=2     2  {mean:.2f} ± ")
    assert main(["compare", str(runs / "sweep"), "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert [group["seeds"] for group in groups] == [[0, 1], [0, 1]]


def test_one_run_has_no_error(runs):
    found = compare([runs / "sweep" / "2-0", runs / "sweep" / "3-0"])
    assert [group.metrics["test/elbo"].error for group in found.groups] == [None, None]


def test_what_an_evaluation_adds_is_shown(runs, tmp_path):
    copies = [shutil.copytree(runs / "sweep" / name, tmp_path / name) for name in ("2-0", "2-1")]
    for number, copy in enumerate(copies):
        (copy / "evaluation-test.json").write_text(json.dumps({"metrics": {"test/nll": 80.0 + number, "test/elbo": 0}}))
    (group,) = compare(copies).groups
    assert group.metrics["test/nll"] == Statistic.of([80.0, 81.0])
    assert group.metrics["test/elbo"].values == tuple(elbos(runs, 2))  # of the run


def test_a_copy_of_a_run_is_not_counted_twice(runs, tmp_path, capsys):
    shutil.copytree(runs / "sweep" / "2-0", tmp_path / "copy")
    assert main(["compare", str(runs / "sweep" / "2-0"), str(runs / "sweep" / "2-1"), str(tmp_path / "copy")]) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path / 'copy'} is not counted: another run has its seed" in printed
    assert "mnist-2d     2 " in printed


def test_an_unfinished_run_is_named(runs, tmp_path, capsys):
    copy = shutil.copytree(runs / "sweep" / "3-0", tmp_path / "unfinished")
    (copy / "summary.json").unlink()
    assert main(["compare", str(runs / "sweep" / "2-0"), str(copy)]) == 0
    assert f"{copy} has not finished: step 4" in capsys.readouterr().out


def test_the_picture(runs, tmp_path):
    out = tmp_path / "curves.png"
    assert main(["compare", str(runs / "sweep"), "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert main(["compare", str(runs / "sweep"), "--out", str(out)]) == 2


def edited(source, target, old, new):
    """Return a copy of a run whose config has another value."""
    copy = shutil.copytree(source, target)
    config = copy / "config.toml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new, 1))
    return copy


def test_other_binarizations_are_not_compared(runs, tmp_path):
    other = edited(runs / "sweep" / "2-0", tmp_path / "other", 'name = "threshold"', 'name = "dynamic"')
    with pytest.raises(UsageError, match="can't be compared: binarization is 'threshold' and 'dynamic'"):
        compare([runs / "sweep" / "2-0", other])


def test_other_data_are_not_compared(runs, tmp_path, mnist_content):
    from helpers.small_runs import write_digits

    data = write_digits(tmp_path / "digits.npz", mnist_content, train=64, test=15)
    other = train(tmp_path / "run", data, *OF, "latent_size=2")
    with pytest.raises(UsageError, match=r"can't be compared: the data's test\.x is 'uint8 \[16, .*'uint8 \[15, "):
        compare([runs / "sweep" / "2-0", other])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep/2-0"], "compare needs at least two runs, but 1 was given"),
        (["sweep/2-0", "nowhere"], "nowhere is not a run directory: it does not exist"),
        (["sweep", "--metric", "test/elbos"], "--metric test/elbos: no run has it; did you mean 'test/elbo'?"),
        (["sweep", "--out", "curves.jpg"], "--out curves.jpg: the file's name must end with .png"),
    ],
)
def test_bad_input_is_one_line(runs, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(runs)
    assert main(["compare", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
