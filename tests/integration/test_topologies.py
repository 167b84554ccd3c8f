"""A run is a function of (config, seed): the same bits on every topology, in real processes."""

from __future__ import annotations

import json
import re

import pytest
from helpers.cut_runs import cut_back
from helpers.jobs import HOROVOD, TOPOLOGIES, begin, finish, job, summary_of, usual
from helpers.small_runs import SHORT, SMALL, on, rows, train, vaeflow, write_digits
from helpers.tiers import repeated

CASES = {
    "everything": (
        *SMALL,
        "epochs=2",
        "microbatches=4",
        "batch_size=10",
        "objective.samples=2",
        "binarization=dynamic",
        "clip_norm=5.0",
        "ema=0.9",
        "kl_schedule=linear",
        "optimizer=adam",
        "encoder.normalization=batch",
    ),
    "convolutions in bfloat16": (
        "microbatches=4",
        "batch_size=16",
        "precision=mixed_bfloat16",
        "steps=2",
        "objective=info-vae",
    ),
    "loss scale": (
        *SMALL,
        "epochs=2",
        "microbatches=3",
        "batch_size=12",
        "precision=mixed_float16",
        "optimizer=sgd",
        "objective={name='iwae', samples=2, gradient='doubly-reparameterized'}",
        "prior={name='vamp', components=5}",
    ),
}
MORE_THAN_CORES = pytest.param("horovod", 4, id="horovod x4", marks=[pytest.mark.horovod, HOROVOD])
USUAL = {  # the others are repetitions
    "everything": ["mirrored x3", "multiworker x2", "horovod x4"],
    "convolutions in bfloat16": ["mirrored x2"],
    "loss scale": ["mirrored x2"],
}
BY_CASE = [
    pytest.param(*topology.values, case, id=f"{topology.id} {case}", marks=topology.marks)
    for case, names in USUAL.items()
    for topology in usual([*TOPOLOGIES, MORE_THAN_CORES], *names)
    if topology is not MORE_THAN_CORES or case == "everything"
]
pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    """The first 41 training digits and 33 test digits: last batches of one example and of three."""
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content, train=41, test=33)


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory, digits):
    """Return a function that trains a case on one device, once."""
    done = {}

    def trained(case):
        if case not in done:
            done[case] = tmp_path_factory.mktemp("single") / "run"
            run(done[case], "single", 1, digits, case)
        return done[case]

    return trained


def settings_of(digits, case):
    return ["dataset=arrays", f"dataset.path={digits}", *SHORT, *CASES[case]]


def run(folder, kind, count, digits, case):
    finished = job(kind, count, "train", "mnist-2d", "--run-dir", folder, *settings_of(digits, case))
    assert finished.codes == [0] * len(finished.codes), finished.outputs
    return finished.outputs


@pytest.mark.parametrize(("kind", "count", "case"), BY_CASE)
def test_the_same_bits_as_on_one_device(tmp_path, digits, on_one_device, *, kind, count, case):
    outputs = run(tmp_path / "run", kind, count, digits, case)
    here, alone = summary_of(tmp_path / "run"), summary_of(on_one_device(case))
    for key in ("weights_sha256", "state_sha256", "metrics"):
        assert here[key] == alone[key]
    assert (here["strategy"], here["replicas"]) == (kind, count)
    assert rows(tmp_path / "run") == rows(on_one_device(case))
    assert sum(output.count("replicas have the same state") for output in outputs) == 1  # on rank 0 alone


def test_the_bits_depend_on_the_number_of_microbatches(tmp_path, digits, on_one_device):
    settings = [*settings_of(digits, "everything"), "microbatches=2"]
    job("single", 1, "train", "mnist-2d", "--run-dir", tmp_path / "run", *settings)
    assert summary_of(tmp_path / "run")["state_sha256"] != summary_of(on_one_device("everything"))["state_sha256"]


@pytest.mark.slow
@pytest.mark.repetition
@pytest.mark.horovod
@HOROVOD
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [4, 8, 16])
def test_more_ranks_than_cores(tmp_path, digits, count):
    """Every rank imports TensorFlow and traces: half a gigabyte of memory and half a minute of a core each."""
    settings = [*settings_of(digits, "everything"), "microbatches=16", "batch_size=16"]
    for folder, topology in (("alone", ("single", 1)), ("together", ("horovod", count))):
        processes = begin(*topology, "train", "mnist-2d", "--run-dir", tmp_path / folder, *settings)
        finished = finish(processes, patience=60 * count)
        assert finished.codes == [0], finished.outputs
    assert summary_of(tmp_path / "together")["replicas"] == count
    assert summary_of(tmp_path / "together")["state_sha256"] == summary_of(tmp_path / "alone")["state_sha256"]


@pytest.mark.parametrize(("kind", "count"), usual(TOPOLOGIES, "horovod x2"))
def test_automatic_microbatches_are_equal_to_rounding(tmp_path, digits, kind, count):
    settings = on(digits, "microbatches=auto", "batch_size=10", "steps=3", "optimizer=sgd", "learning_rate=1e-3")
    for folder, topology in (("alone", ("single", 1)), ("together", (kind, count))):
        finished = job(*topology, "train", "mnist-2d", "--run-dir", tmp_path / folder, *settings)
        assert set(finished.codes) == {0}, finished.outputs
    here, alone = (summary_of(tmp_path / folder)["metrics"] for folder in ("together", "alone"))
    assert here == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "count", "compression"),
    [
        ("mirrored", 2, "bfloat16"),
        pytest.param("horovod", 2, "float16", marks=[pytest.mark.horovod, HOROVOD]),
        repeated("horovod", 3, "bfloat16"),
    ],
)
def test_compressed_gradients_still_train(tmp_path, digits, kind, count, compression):
    settings = on(
        digits, f"compression={compression}", "batch_size=10", "epochs=4", "optimizer=adam", "learning_rate=1e-2"
    )
    finished = job(kind, count, "train", "mnist-2d", "--run-dir", tmp_path / "run", *settings)
    assert set(finished.codes) == {0}, finished.outputs
    bounds = [row["test/elbo"] for row in rows(tmp_path / "run") if "test/elbo" in row]
    assert bounds[-1] > bounds[0] + 20  # nats


@pytest.mark.parametrize(("kind", "count"), usual(TOPOLOGIES, "mirrored x3", "horovod x2"))
def test_evaluated_on_any_topology(tmp_path, digits, kind, count):
    """Whatever trained the run: the figures of one device, printed and written once."""
    run = train(tmp_path / "run", digits, "steps=5", "evaluate.batch_size=24")
    alone = vaeflow("evaluate", run, "--samples", 3)
    written = (run / "evaluation-test.json").read_bytes()
    (run / "evaluation-test.json").unlink()
    finished = job(kind, count, "evaluate", run, "--samples", 3)
    assert set(finished.codes) == {0}, finished.outputs
    assert (run / "evaluation-test.json").read_bytes() == written
    printed = "\n".join(finished.outputs).replace("[0]<stdout>:", "")
    assert printed.count('"metrics"') == 1
    assert alone.stdout in printed


@pytest.mark.parametrize(("kind", "count"), usual(TOPOLOGIES, "mirrored x2"))
def test_the_log_likelihood_has_the_bits_of_one_device(tmp_path, digits, kind, count):
    """Whatever the replicas, the memory budget and the batch size of evaluations."""
    found = []
    for number, (topology, memory) in enumerate(((("single", 1), "1GiB"), ((kind, count), "30MB"))):
        settings = ("steps=5", f"evaluate.batch_size={24 + number}", "microbatches=6", "batch_size=12")
        run = tmp_path / str(number)
        assert vaeflow("train", "mnist-2d", "--run-dir", run, *on(digits, *settings)).returncode == 0
        finished = job(*topology, "evaluate", run, "--importance-samples", 230, "--memory", memory)
        assert set(finished.codes) == {0}, finished.outputs
        metrics = json.loads((run / "evaluation-test.json").read_text())["metrics"]
        found.append({name: value for name, value in metrics.items() if "nll" in name or "effective" in name})
    assert len(found[0]) == 4
    assert found[0] == found[1]


@pytest.mark.parametrize(("kind", "count"), usual(TOPOLOGIES, "multiworker x2"))
def test_more_replicas_than_microbatches_is_one_line(tmp_path, digits, kind, count):
    settings = on(digits, f"microbatches={count - 1}")
    finished = job(kind, count, "train", "mnist-2d", "--run-dir", tmp_path / "run", *settings)
    assert all(finished.codes)
    complaint = rf"vaeflow: (\[rank \d\] )?{count} replicas are more than microbatches = {count - 1}"
    ranks = [match[1] for match in re.finditer(complaint, "\n".join(finished.outputs))]
    assert ranks == [None]  # it is said once, by rank 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("kind", "count"), usual(TOPOLOGIES[2:], "multiworker x2"))
def test_a_directory_in_use_ends_all_processes(tmp_path, digits, kind, count):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("keep me")
    finished = job(kind, count, "train", "mnist-2d", "--run-dir", tmp_path / "run", *on(digits))
    assert all(finished.codes)
    assert "already exists" in "".join(finished.outputs)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]


@pytest.mark.repetition
def test_resumed_on_other_topologies(tmp_path, digits, on_one_device):
    """One epoch on two mirrored replicas, then a finished run elsewhere: the bits of the run that nobody moved."""
    settings = settings_of(digits, "everything")
    folder = tmp_path / "run"
    assert set(job("mirrored", 2, "train", "mnist-2d", "--run-dir", folder, *settings).codes) == {0}
    oldest = min(int(path.name.split("-")[1]) for path in (folder / "checkpoints").glob("step-*"))
    cut_back(folder, oldest)
    finished = job("multiworker", 3, "resume", folder)
    assert set(finished.codes) == {0}, finished.outputs
    assert summary_of(folder)["state_sha256"] == summary_of(on_one_device("everything"))["state_sha256"]
    assert "may differ" not in "".join(finished.outputs)


BREAKS = """
from vaeflow import Component, hookimpl
from vaeflow.callbacks import Callback


class Breaks(Callback):
    def on_log(self, run, record):
        weight = run.trained.model.trainable_variables[0].value
        own = getattr(weight, "values", [weight])[-1]  # the last replica's of this process
        own.assign(own + 1e-7)


def breaks():
    return Breaks()


@hookimpl
def vaeflow_components():
    return [Component("callback", "breaks", breaks)]
"""


@pytest.mark.parametrize(("kind", "count"), usual(TOPOLOGIES, "mirrored x2", "multiworker x2"))
def test_replicas_that_differ_stop_the_run_and_are_named(tmp_path, digits, kind, count):
    """A callback, which runs on the chief alone, changes a weight of one replica: the next proof fails."""
    plugin = tmp_path / "breaks.py"
    plugin.write_text(BREAKS)
    settings = on(digits, "epochs=50", "verify_every_steps=7", "callbacks=['breaks']", "batch_size=8")
    finished = job(kind, count, "train", "mnist-2d", "--run-dir", tmp_path / "run", "--plugin", plugin, *settings)
    assert 0 not in finished.codes
    differ = [count - 1] if kind == "mirrored" else range(1, count)  # from the first, whoever is wrong
    line = f"replicas {', '.join(map(str, differ))} of {count} have another state than replica 0: "
    assert line in "".join(finished.outputs)
    assert not (tmp_path / "run" / "summary.json").exists()
