"""The ranges of a search, and what is refused before Optuna is needed."""

from __future__ import annotations

import sys

import pytest

from vaeflow.cli import main
from vaeflow.commands.search import Range, ends_of
from vaeflow.commands.sweep import Sweep
from vaeflow.errors import UsageError


@pytest.mark.parametrize(
    ("setting", "ends"),
    [
        ("learning_rate=1e-4..1e-2:log", ("learning_rate=0.0001", "learning_rate=0.01")),
        ("latent_size=2..50", ("latent_size=2", "latent_size=50")),
        ("latent_size=2..50:log", ("latent_size=2", "latent_size=50")),
        ("ema=.5..0.99", ("ema=0.5", "ema=0.99")),
        ("shift=-1..1.0", ("shift=-1.0", "shift=1.0")),
        ("decoder.hidden=[8],[16,16]", ("decoder.hidden=[8]", "decoder.hidden=[16,16]")),
    ],
)
def test_the_ends_of_a_range(setting, ends):
    assert Range.of(setting).ends() == ends


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("latent_size=5..5", "the range is empty: 5 is not smaller than 5"),
        ("learning_rate=0..1:log", "a range by logarithms begins above 0"),
        ("learning_rate", "is not KEY=VALUE"),
    ],
)
def test_what_is_no_range(setting, message):
    with pytest.raises(UsageError, match=message):
        Range.of(setting)


def test_a_search_needs_a_range(tmp_path):
    with pytest.raises(UsageError, match="no setting is a range, such as"):
        ends_of(Sweep("mnist-2d", ("epochs=1",), tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--search", "optuna"], "--search optuna needs --trials"),
        (["--search", "optuna", "--trials", "3", "--slurm"], "are for grids"),
        (["--trials", "3"], "are for --search optuna, which is not given"),
        (["--search", "optuna", "--trials", "3"], "pip install 'vaeflow[optuna]'"),
    ],
)
def test_options_that_do_not_fit(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["sweep", "mnist-2d", "latent_size=2..5", "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
