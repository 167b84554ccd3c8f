"""A loop by hand over epochs trains to the bits of the command, in real processes."""

from __future__ import annotations

import pytest
from helpers.jobs import HOROVOD, begin, finish, job, summary_of
from helpers.small_runs import vaeflow
from helpers.tiers import few

SETTINGS = (
    *("dataset=digits", "dataset.train_examples=90", "dataset.test_examples=20", "encoder=mlp", "decoder=mlp"),
    *("encoder.hidden=[8]", "decoder.hidden=[8]", "batch_size=30", "microbatches=6", "epochs=3"),
    *("log.tensorboard=false", "plots.draw=[]", "log.every_steps=2"),
)
BY_HAND = """
import sys
import vaeflow

folder, leave, *settings = sys.argv[1:]
run = vaeflow.start("mnist-2d", overrides=settings, run_dir=folder)
numbers = []
for epoch in run.epochs():
    run.sample(3)
    run.elbo(run.examples("test", 5), samples=2)
    run.model.encode(run.examples("test", 5))  # builds another network
    numbers.append(epoch.number)
    if leave == "break" and epoch.number == 2:
        break
    if leave == "raise" and epoch.number == 1:
        raise SystemExit("enough")
print(numbers, run.step, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "by_hand.py"
    path.write_text(BY_HAND)
    return str(path)


@pytest.fixture(scope="module")
def commanded(tmp_path_factory):
    """The state of the command's run."""
    run = tmp_path_factory.mktemp("command") / "run"
    done = vaeflow("train", "mnist-2d", *SETTINGS, "--run-dir", run)
    assert done.returncode == 0, done.stderr
    return summary_of(run)


def test_the_loop_has_the_bits_of_the_command(tmp_path, script, commanded):
    finished = job("single", 1, tmp_path / "run", "", *SETTINGS, program=(script,))
    assert finished.codes == [0], finished.outputs
    assert "[1, 2, 3] 9" in finished.outputs[0]
    found = summary_of(tmp_path / "run")
    assert (found["state_sha256"], found["metrics"]) == (commanded["state_sha256"], commanded["metrics"])


@pytest.mark.parametrize(("how", "code", "step"), [("break", 0, 6), ("raise", 1, 3)])
def test_a_loop_that_is_left_is_resumed(tmp_path, script, commanded, *, how, code, step):
    finished = job("single", 1, tmp_path / "run", how, *SETTINGS, "checkpoint.every_steps=4", program=(script,))
    assert finished.codes == [code], finished.outputs
    assert f"left by the caller at step {step} of 9; the state is saved" in finished.outputs[0]
    assert "Traceback" not in finished.outputs[0]
    done = vaeflow("resume", tmp_path / "run")
    assert f"resuming from step {step} of 9" in done.stdout, done.stderr
    assert summary_of(tmp_path / "run")["state_sha256"] == commanded["state_sha256"]


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.horovod
@HOROVOD
@pytest.mark.parametrize("how", few(["", "break"], "break"))
def test_two_ranks_loop_together(tmp_path, script, commanded, how):
    finished = finish(begin("horovod", 2, tmp_path / "run", how, *SETTINGS, program=(script,)))
    assert finished.codes == [0], finished.outputs
    if how:
        done = vaeflow("resume", tmp_path / "run", "--strategy", "single")
        assert done.returncode == 0, done.stderr
    assert summary_of(tmp_path / "run")["state_sha256"] == commanded["state_sha256"]
