"""Ranks that differ end on all of them, with what differs named, before a step is taken: real processes."""

from __future__ import annotations

import json
import time

import pytest
from helpers.jobs import HOROVOD, begin, finish, free_ports, start, tf_configs, usual
from helpers.other_values import keys_of, other_settings
from helpers.small_runs import RUN, command_line, on, python, write_digits
from helpers.tiers import few

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.distributed.job.key_value_store import serving
from vaeflow.plugins.registry import Registry
from vaeflow.training.agreement import judge
from vaeflow.training.provenance.record import Provenance

LIMIT = 15.0  # seconds from the last rank's start to the end of all
PLUGIN = """
from vaeflow import Component, hookimpl

def small(x_shape, *, width: int = 4):
    from keras import Input, Model, layers
    x = Input(x_shape)
    return Model(x, layers.Dense(width, activation="{activation}")(layers.Flatten()(x)))

@hookimpl
def vaeflow_components():
    yield Component("encoder", "small", small)
"""
pytestmark = pytest.mark.distributed


@pytest.fixture
def data(tmp_path, mnist_content):
    return write_digits(tmp_path / "digits.npz", mnist_content)


def ranks(strategy, *commands, program=RUN):
    """Run a command on each rank, without a launcher of Horovod's: what it would set, and a server as it runs one."""
    if strategy == "multiworker":
        environments = [{"TF_CONFIG": config} for config in tf_configs(len(commands))]
        return _finished(commands, environments, strategy, program)
    [port] = free_ports(1)
    place = {"HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1", "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port)}
    size = str(len(commands))
    numbers = [{"HOROVOD_RANK": str(rank), "HOROVOD_LOCAL_RANK": str(rank)} for rank in range(len(commands))]
    sizes = {"HOROVOD_SIZE": size, "HOROVOD_LOCAL_SIZE": size}
    with serving("127.0.0.1", port):
        return _finished(commands, [place | sizes | number for number in numbers], strategy, program)


def _finished(commands, environments, strategy, program=RUN):
    started = time.monotonic()
    processes = [
        start([*python(), "-c", program, *_with_strategy(command, strategy)], **environment)
        for command, environment in zip(commands, environments, strict=True)
    ]
    done = finish(processes)
    return done, time.monotonic() - started


def _with_strategy(command, strategy):
    words = list(map(str, command))
    return words if any(word.startswith("strategy=") for word in words) else [*words, f"strategy={strategy}"]


def assert_named(done, seconds, *words):
    assert set(done.codes) == {2}, done.outputs
    assert seconds < LIMIT
    for word in words:
        assert word in done.outputs[0], done.outputs
    assert "Traceback" not in "".join(done.outputs)


BOTH = [
    pytest.param("horovod", id="horovod", marks=[pytest.mark.horovod, HOROVOD]),
    pytest.param("multiworker", id="multiworker"),
]
CASES = {
    "seed=1": ("seed is 0 at rank 0 and 1 at rank 1",),
    "objective=beta-vae": ("objective.name is 'elbo' at rank 0 and 'beta-vae' at rank 1",),
    "dataset.train_examples=255": ("dataset.train_examples is 'none' at rank 0 and 255 at rank 1",),
    "steps=13": ("steps is 12 at rank 0 and 13 at rank 1",),
    "microbatches=2": ("microbatches is 4 at rank 0 and 2 at rank 1",),
    "batch_size=16": ("batch_size is 32 at rank 0 and 16 at rank 1",),
    "checkpoint.every_steps=3": ("checkpoint.every_steps is 'none' at rank 0 and 3 at rank 1",),
    "encoder.hidden=[16]": ("encoder.hidden is [8] at rank 0 and [16] at rank 1",),
}


def training(run, data, *settings):
    return ["train", "mnist-2d", "--run-dir", run, *on(data, "steps=12", "microbatches=4", *settings)]


@pytest.mark.parametrize("strategy", usual(BOTH, "multiworker"))
@pytest.mark.parametrize("setting", few(CASES, "seed=1", "encoder.hidden=[16]"))
def test_a_setting_of_one_rank(tmp_path, data, strategy, setting):
    run = tmp_path / "run"
    done, seconds = ranks(strategy, training(run, data), training(run, data, setting))
    assert_named(done, seconds, "the ranks of this job differ", *CASES[setting])
    assert not run.exists()


@pytest.mark.horovod
@HOROVOD
def test_horovodrun_itself(tmp_path, data):
    """Its own server is the meeting's place; its exit code is 1 whatever went wrong."""
    other = "import os, sys; sys.argv += ['seed=1'] * (os.environ['HOROVOD_RANK'] == '1'); " + RUN
    run = tmp_path / "run"
    done = finish(begin("horovod", 2, *training(run, data), program=("-c", other)))
    assert done.codes == [1]
    assert "vaeflow: the ranks of this job differ: seed is 0 at rank 0 and 1 at rank 1" in done.outputs[0]
    assert not run.exists()


@pytest.mark.parametrize("strategy", usual(BOTH, "horovod"))
def test_other_bytes_in_the_data_file(tmp_path, data, mnist_content, strategy):
    """The same path on two hosts with other content: here, two working directories."""
    commands, run = [], tmp_path / "run"
    for rank in (0, 1):
        folder = tmp_path / f"host{rank}"
        folder.mkdir()
        changed = mnist_content._replace(x_train=mnist_content.x_train[:256].copy())
        changed.x_train[200, 5, 5] += rank
        write_digits(folder / "digits.npz", changed)
        commands.append((folder, training(run, "digits.npz")))
    done, seconds = _in_folders(strategy, commands)
    assert_named(done, seconds, "the data's train.x is 'uint8 [256, 28, 28, 1] sha256 ")


@pytest.mark.parametrize("strategy", usual(BOTH, "multiworker"))
def test_other_code_in_the_plugin_file(tmp_path, data, strategy):
    commands, run = [], tmp_path / "run"
    for rank, activation in enumerate(("relu", "tanh")):
        folder = tmp_path / f"host{rank}"
        folder.mkdir()
        (folder / "mine.py").write_text(PLUGIN.format(activation=activation))
        settings = on(data, "steps=12", "microbatches=4")
        encoder = [s for s in settings if not s.startswith("encoder")] + ["encoder=small"]
        commands.append((folder, ["train", "mnist-2d", "--run-dir", run, "--plugin", "./mine.py", *encoder]))
    done, seconds = _in_folders(strategy, commands)
    assert_named(done, seconds, "the code of mine.py is 'sha256 ")


BY_RANK = PLUGIN.replace("    from keras", "    import os\n    from keras").replace(
    '"{activation}"', '("relu", "tanh")[int(os.environ.get("HOROVOD_RANK", "1}" in os.environ.get("TF_CONFIG", "")))]'
)


def test_code_that_depends_on_the_rank(tmp_path, data):
    (tmp_path / "mine.py").write_text(BY_RANK)
    settings = on(data, "steps=12", "microbatches=4")
    encoder = [s for s in settings if not s.startswith("encoder")] + ["encoder=small"]
    run = tmp_path / "run"
    command = ["train", "mnist-2d", "--run-dir", run, "--plugin", tmp_path / "mine.py", *encoder]
    done, _ = ranks("multiworker", command, command)
    assert_named(done, 0.0, "rank 1 and rank 0 differ in the first microbatch of step 0")
    assert not (run / "checkpoints").exists()


def _in_folders(strategy, commands):
    """Run each rank in a folder of its own."""
    inside = "import os, sys; os.chdir(sys.argv.pop(1)); " + RUN
    return ranks(strategy, *([folder, *command] for folder, command in commands), program=inside)


@pytest.mark.parametrize("strategy", usual(BOTH, "horovod"))
def test_a_rank_with_an_error_of_its_own_ends_all(tmp_path, data, strategy):
    run = tmp_path / "run"
    done, seconds = ranks(strategy, training(run, data), training(run, data, "encoder.hiden=[8]"))
    assert_named(done, seconds, "rank 1: command line: encoder.hiden: ")
    assert "encoder.hiden" in done.outputs[1]


@pytest.mark.parametrize("strategy", usual(BOTH, "multiworker"))
def test_an_error_that_all_ranks_have_is_said_once(tmp_path, data, strategy):
    wrong = training(tmp_path / "run", data, "encoder.hiden=[8]")
    done, seconds = ranks(strategy, wrong, wrong)
    assert_named(done, seconds, "encoder.hiden")
    assert done.outputs[1] == ""


def test_other_threads_are_named_and_accepted(tmp_path, data):
    run = tmp_path / "run"
    few, many = ({"ONEDNN_MAX_CPU_ISA": isa} for isa in ("AVX2", "AVX512_CORE"))
    environments = [{"TF_CONFIG": config} | more for config, more in zip(tf_configs(2), (few, many), strict=True)]
    command = training(run, data)
    done, seconds = _finished([command] * 2, environments, "multiworker")
    assert_named(
        done, seconds, "$ONEDNN_MAX_CPU_ISA is 'AVX2' at rank 0 and 'AVX512_CORE' at rank 1", "--accept-changes"
    )
    command.insert(1, "--accept-changes")
    done, _ = _finished([command] * 2, environments, "multiworker")
    assert done.codes == [0, 0], done.outputs
    assert "warning: the ranks differ, which --accept-changes allows: $ONEDNN_MAX_CPU_ISA" in done.outputs[0]


def test_ranks_that_do_not_come_are_named(tmp_path, data):
    configs = tf_configs(3)
    worker = command_line(*training(tmp_path / "run", data), "strategy=multiworker")
    patience = {"VAEFLOW_RENDEZVOUS_TIMEOUT": "3"}
    done = finish([start(worker, TF_CONFIG=configs[rank], **patience) for rank in (0, 2)])
    assert done.codes == [1, 1]
    assert "rank 1 did not connect to 127.0.0.1:" in done.outputs[0]


# Every key of the config


def test_every_key_of_the_schema_is_compared():
    """By the judge of the meeting itself, on records as two ranks would hand them in."""
    registry = Registry.load()
    usual, others = resolve(compose("mnist-2d"), registry), other_settings([], registry)
    assert not keys_of(usual) - set(others)
    for key, settings in others.items():
        other = resolve(compose("mnist-2d", settings), registry)
        handed_in = [
            {"record": json.loads(Provenance.of(one).to_json()), "command": {"accept_changes": False}, "error": None}
            for one in (usual, other)
        ]
        found = json.loads(judge([json.dumps(one) for one in handed_in]))["differences"]
        assert key in found, (settings, found)


@pytest.mark.slow
@pytest.mark.repetition
@pytest.mark.parametrize("strategy", BOTH)
def test_every_key_between_two_processes(tmp_path, data, strategy):
    common = ["dataset=arrays", f"dataset.path={data}", f"strategy={strategy}"]
    usual = ["train", "mnist-2d", "--run-dir", tmp_path / "run", *common]
    for key, settings in other_settings(common, Registry.load()).items():
        done, seconds = ranks(strategy, usual, [*usual, *settings])
        assert_named(done, seconds, key)
        assert not (tmp_path / "run").exists()
