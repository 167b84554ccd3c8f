"""`vaeflow bench`: figures that fit together, and the arithmetic of a network that is counted by hand."""

from __future__ import annotations

import json

import pytest
from helpers.small_runs import on, vaeflow, write_digits

from vaeflow.cli import main
from vaeflow.commands.bench_replicas import Compared, numbers_of
from vaeflow.errors import UsageError

pytestmark = pytest.mark.slow  # it compiles five loops

SHORT = ("--rounds=2", "--steps=3")
PIXELS, HIDDEN, LATENTS = 784, 8, 2


@pytest.fixture(scope="module")
def data(tmp_path_factory, mnist_content):
    return write_digits(tmp_path_factory.mktemp("bench") / "digits.npz", mnist_content)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("bench") / "bench.json"
    done = vaeflow("bench", "mnist-2d", *on(data, "microbatches=2"), *SHORT, f"--json={out}")
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout


def test_parts_add_up_to_the_step(measured):
    record, _ = measured
    parts = dict(record["milliseconds"])
    step = parts.pop("step")
    assert list(parts) == ["input", "forward", "backward", "exchange", "update"]
    assert sum(parts.values()) >= step * 0.999  # more only if a part was measured as slower than what follows it
    assert len(record["examples_per_second"]) == 2
    assert record["batch_size"] / record["median_examples_per_second"] == pytest.approx(step / 1e3, rel=0.5)


def test_operations_are_those_of_the_products(measured):
    weights = PIXELS * HIDDEN + 2 * HIDDEN * LATENTS + LATENTS * HIDDEN + HIDDEN * PIXELS
    # Forward, and twice that backward, but for the gradient of x that nobody needs.
    products = 2 * (3 * weights - PIXELS * HIDDEN)
    assert products < measured[0]["operations"] < 1.2 * products


def test_the_report_names_each_figure(measured):
    record, shown = measured
    heads = [line.split()[0] for line in shown.splitlines()]
    assert heads == ["recipe", "examples/s", "step", "start", "memory", "arithmetic"]
    assert f"{record['median_examples_per_second']:,.0f} (" in shown
    assert "batch 32 in 2 microbatches, single, 1 replica, 1 thread" in shown


@pytest.mark.repetition
def test_replicas_are_compared(data, tmp_path):
    words = (*on(data, "microbatches=2"), *SHORT, "--replicas=1,2", f"--json={tmp_path / 'both.json'}")
    done = vaeflow("bench", "mnist-2d", *words)
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "both.json").read_text())
    assert [(one["strategy"], one["replicas"]) for one in records] == [("single", 1), ("mirrored", 2)]
    assert len(done.stdout.splitlines()) == 3


def test_efficiency_is_relative_to_the_first_row():
    def record(replicas, speed):
        ms = {"exchange": 1.0, "step": 10.0}
        fields = {"examples_per_second": [speed], "median_examples_per_second": speed, "milliseconds": ms}
        return {"replicas": replicas, **fields}

    _, first, second = Compared([record(1, 100.0), record(4, 300.0)]).lines()
    assert first.split()[5:7] == ["1.00", "100%"]
    assert second.split()[5:7] == ["3.00", "75%"]


def test_a_file_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "bench.json").write_text("mine")
    assert main(["bench", "mnist-2d", f"--json={tmp_path / 'bench.json'}"]) == 2
    assert "exists; choose a new file" in capsys.readouterr().err
    assert (tmp_path / "bench.json").read_text() == "mine"


@pytest.mark.parametrize("text", ["0", "1,x", "", "1,,2"])
def test_replicas_are_numbers(text):
    with pytest.raises(UsageError, match="a list of numbers from 1 on"):
        numbers_of(text)
