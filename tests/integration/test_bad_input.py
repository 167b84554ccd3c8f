"""Whatever is wrong with what a user or a machine gives: one line, an exit code, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from textwrap import dedent

import numpy as np
import pytest
from helpers.small_runs import SHORT, on, train, tree, write_digits

from vaeflow.cli import main

FILES = {
    "syntax.toml": 'recipe = "mnist-2d"\nepochs = = 3\n',
    "lengths.toml": 'recipe = "mnist-2d"\nepochs = 3\nsteps = 5\n',
    "unknown.toml": "[evaluate]\nevery_epoch = 2\n",
    "base.toml": 'recipe = "mnist-9d"\n',
    "latin.toml": b'name = "caf\xe9"\n',
    "raises.py": "raise RuntimeError('no licence\\nfound')\n",
    "syntax.py": "def (:\n",
    "nothing.py": "X = 1\n",
    "misspelt.py": "from vaeflow import hookimpl\n@hookimpl\ndef vaeflow_component():\n    return []\n",
    "duplicate.py": """
        from vaeflow import Component, hookimpl
        def mlp(x_shape: tuple[int, ...], *, depth: int = 2):
            '''Another one of that name.'''
        @hookimpl
        def vaeflow_components():
            yield Component("encoder", "mlp", mlp)
        """,
    "broken.py": """
        from vaeflow import Component, hookimpl
        def raises(x_shape: tuple[int, ...]):
            raise KeyError("depth")
        def tuple_(x_shape: tuple[int, ...]):
            return x_shape
        def narrow(latent_size: int, output_shape: tuple[int, ...]):
            import keras
            z = keras.Input((latent_size + 1,))
            return keras.Model(z, keras.layers.Dense(3)(z))
        def callback():
            raise OSError(5, "no such server")
        def summed():
            return lambda x, terms: terms.log_likelihood
        def unknown():
            return lambda x, terms: terms.log_evidence
        def total():
            class Total:
                samples = 2
                def loss(self, terms, schedule, step):
                    return terms.kl[0] - terms.log_likelihood[0, 0]
            return Total()
        def halved(x_shape: tuple[int, ...], *, noise: str = "none"):
            from vaeflow.components.transforms import FunctionTransform
            return FunctionTransform(x_shape, lambda pixels, _: pixels[:, ::2], noise, 1)
        @hookimpl
        def vaeflow_components():
            yield Component("encoder", "raises", raises)
            yield Component("encoder", "tuple", tuple_)
            yield Component("decoder", "narrow", narrow)
            yield Component("callback", "raises", callback)
            yield Component("metric", "summed", summed)
            yield Component("metric", "unknown", unknown)
            yield Component("transform", "halved", halved)
            yield Component("objective", "total", total)
        """,
    "unable.py": """
        from vaeflow import Component, hookimpl
        def metric():
            raise AssertionError("it is refused before it is built")
        @hookimpl
        def vaeflow_components():
            yield Component("metric", "elbo", metric)
            yield Component("metric", "eager", metric, xla=False)
        """,
    "run/config.toml": "epochs = -1\n",
    "norun/metrics.jsonl": "",
}

CONFIG = {
    "unknown key": (["epoch=2"], "command line: epoch: unknown key; did you mean 'epochs'?"),
    "unknown nested key": (
        ["checkpoint.evry_steps=5"],
        "command line: checkpoint.evry_steps: unknown key; did",
    ),
    "whole number": (["epochs=many"], "command line: epochs: 'many' is not a whole number of at least 1"),
    "a fraction": (["batch_size=1.5"], "command line: batch_size: 1.5 is not a whole number"),
    "boolean": (["xla=perhaps"], "command line: xla: 'perhaps' is not true or false"),
    "range": (["latent_size=0"], "command line: latent_size: 0 is not a whole number of at least 1"),
    "open range": (["ema=1.0"], "command line: ema: 1.0 is not a number greater than 0 and less than 1 or none"),
    "not finite": (["learning_rate=nan"], "command line: learning_rate: nan is not a number"),
    "one of several": (["precision=float64"], "command line: precision: 'float64' is not 'float32' or 'mixed_"),
    "more microbatches": (["microbatches=101"], "command line: microbatches = 101 is larger than batch_size = 100"),
    "microbatches twice": (["microbatches=4", "accumulate=2"], "command line: accumulate = 2 needs microbatches ="),
    "both lengths": (["epochs=1", "steps=1"], "command line: epochs and steps are both set"),
    "encoder": (["encoder=resnet"], "command line: encoder: unknown encoder 'resnet'; "),
    "decoder": (["decoder=conv-mnits"], "command line: decoder: unknown decoder 'conv-mnits'; did you mean 'conv-"),
    "posterior": (["posterior=flow"], "command line: posterior: unknown posterior 'flow'; available: "),
    "prior": (["prior=normal"], "command line: prior: unknown prior 'normal'; "),
    "likelihood": (
        ["likelihood=bernouli"],
        "command line: likelihood: unknown likelihood 'bernouli'; did you mean",
    ),
    "objective": (["objective=vae"], "command line: objective: unknown objective 'vae'; "),
    "schedule": (["kl_schedule=cosine"], "command line: kl_schedule: unknown schedule 'cosine'; "),
    "optimizer": (["optimizer=adm"], "command line: optimizer: unknown optimizer 'adm'; did you mean 'adam'?"),
    "learning rate": (["learning_rate.name=step"], "command line: learning_rate: unknown learning_rate 'step'; "),
    "data set": (["dataset=cifar"], "command line: dataset: unknown dataset 'cifar'; "),
    "binarization": (["binarization=static"], "command line: binarization: unknown binarization 'static'; "),
    "callback": (["callbacks=[{name='best'}]"], "command line: callbacks[0]: unknown callback 'best'; "),
    "transform": (
        ["transforms=['shift', 'blur']"],
        "command line: transforms[1]: unknown transform 'blur'; available: dequantize, downsample, pad, shift",
    ),
    "metric": (["metrics=['iw-bonud']"], "command line: metrics[0]: unknown metric 'iw-bonud'; did you mean 'iw-bo"),
    "plot": (
        ["plots.draw=['latent']"],
        "command line: plots.draw[0]: unknown plot 'latent'; did you mean 'latents'?",
    ),
    "a metric's option": (["metrics=[{name='iw-bound', samples=5}]"], "command line: metrics[0].samples: iw-bound of "),
    "a transform's option": (
        ["transforms=[{name='pad', pixels=0}]"],
        "command line: transforms[0].pixels: 0 is not a whole number of at least 1",
    ),
    "a callback's option": (
        ["callbacks=[{name='reduce-on-plateau', factor=1.5}]"],
        "command line: callbacks[0].factor: 1.5 is not a number greater than 0 and less than 1",
    ),
    "patience": (
        ["callbacks=[{name='early-stopping', patience=0}]"],
        "command line: callbacks[0].patience: 0 is not a whole number of at least 1",
    ),
    "mode": (
        ["callbacks=[{name='best-checkpoint', mode='most'}]"],
        "command line: callbacks[0].mode: 'most' is not 'max' or 'min'",
    ),
    "no list": (["metrics=iw-bound"], "command line: metrics: 'iw-bound' is not a list"),
    "samples": (["evaluate.samples=0"], "command line: evaluate.samples: 0 is not a whole number of at least 1"),
    "a metric twice": (["metrics=['iw-bound', 'iw-bound']"], "metrics: 'iw-bound' is given twice"),
    "a plot twice": (["plots.draw=['curves', 'curves']"], "plots.draw: 'curves' is given twice"),
    "a metric of vaeflow's name": (
        ["--plugin", "unable.py", "metrics=['elbo']"],
        "metrics: 'elbo' is a built-in metric; rename the plugin's component",
    ),
    "XLA": (
        ["--plugin", "unable.py", "metrics=['eager']", "xla=true"],
        "xla = true: metric 'eager' of {here}/unable.py (--plugin) does not support XLA; set xla = false",
    ),
    "strategy": (["--strategy", "mirorred"], "command line: strategy: unknown strategy 'mirorred'; "),
    "option": (["optimizer.momentun=0.9"], "command line: optimizer.momentun: rmsprop of vaeflow "),
    "type of an option": (["encoder=mlp", "encoder.hidden=3"], "command line: encoder.hidden: 3 is not a list "),
    "range of an option": (["optimizer.rho=1.5"], "command line: optimizer.rho: 1.5 is not a number of at least 0"),
    "missing option": (["dataset=arrays"], "command line: dataset.path: missing, but arrays of vaeflow "),
    "a path for a name": (["name=../x"], "command line: name = '../x' is not allowed in the name of a run directory: "),
    "no setting": (["epochs"], "command line: 'epochs' is not KEY=VALUE"),
    "plugin missing": (["--plugin", "nowhere"], "plugin nowhere (--plugin) was not loaded: there is no module"),
    "plugin file missing": (
        ["--plugin", "x.py"],
        "plugin {here}/x.py (--plugin) was not loaded: there is no such file",
    ),
    "plugin raises": (
        ["--plugin", "raises.py"],
        "{here}/raises.py (--plugin) was not loaded: RuntimeError: no licence",
    ),
    "plugin syntax": (["--plugin", "syntax.py"], "{here}/syntax.py (--plugin) was not loaded: SyntaxError: "),
    "plugin without hooks": (["--plugin", "nothing.py"], "{here}/nothing.py (--plugin) was not loaded: it has no hook"),
    "plugin's hook": (["--plugin", "misspelt.py"], "unknown hook 'vaeflow_component' "),
    "duplicate plugin": (["--plugin", "duplicate.py"], "encoder 'mlp' is registered twice: by vaeflow "),
    "run directory": (["--run-dir", "norun"], "--run-dir: norun already exists, and a run is never overwritten"),
}
TRAIN = {name: (["train", "mnist-2d", *given], line) for name, (given, line) in CONFIG.items()}
COMMANDS = TRAIN | {
    "recipe": (["train", "mnist-3d"], "unknown recipe 'mnist-3d'; did you mean 'mnist-2d'?"),
    "recipe's file": (["train", "./mine.toml"], "mine.toml: No such file or directory"),
    "a folder as recipe": (["train", "./run"], "run: it is a directory, not a regular file"),
    "TOML": (["train", "syntax.toml"], "syntax.toml: not valid TOML: Invalid value (at line 2, column 10)"),
    "UTF-8": (["train", "latin.toml"], "latin.toml: not a text file in UTF-8 (byte 11)"),
    "both lengths in a file": (["train", "lengths.toml"], "lengths.toml: epochs and steps are both set"),
    "unknown key in a file": (
        ["train", "unknown.toml"],
        "unknown.toml: evaluate.every_epoch: unknown key; did",
    ),
    "recipe in a file": (["train", "base.toml"], "base.toml: recipe: unknown recipe 'mnist-9d'"),
    "resume nothing": (["resume", "nowhere"], "nowhere is not the directory of a run"),
    "resume no run": (["resume", "norun"], "norun is not a run directory: it has no config.toml"),
    "evaluate no run": (["evaluate", "norun"], "norun is not a run directory: it has no config.toml"),
    "sample no run": (["sample", "norun"], "norun is not a run directory: it has no config.toml"),
    "plot no run": (["plot", "norun"], "norun is not a run directory: it has no config.toml"),
    "sample's file": (
        ["sample", "norun", "--out", "a.gif"],
        "--out a.gif: the file's name must end with .npy, .png or .pdf",
    ),
    "sample's folder": (["sample", "norun", "--out", "no/a.npy"], "--out no/a.npy: there is no directory no"),
    "a run's config": (["resume", "run"], "run/config.toml: epochs: -1 is not a whole number of at least 1 or none"),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with files that are wrong."""
    path = tmp_path / "here"
    for name, content in FILES.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else dedent(content).encode())
    monkeypatch.chdir(path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits):
    """A run of 16 steps with checkpoints at 8, 12 and 16."""
    return train(tmp_path_factory.mktemp("finished") / "run", digits, "checkpoint.every_steps=4")


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def line_of(error):
    """Return the one line of an error, without the program's name."""
    assert re.fullmatch(r"vaeflow: .+\n", error), error
    assert "Traceback" not in error
    assert "bug" not in error
    return error.removeprefix("vaeflow: ").rstrip("\n")


def refused(arguments, capfd, folder, code=2):
    """Run the command here; return its one line of error once it is clear that nothing was changed."""
    before = tree(folder)
    capfd.readouterr()
    assert main([str(a) for a in arguments]) == code
    out, error = capfd.readouterr()
    assert out == ""
    assert tree(folder) == before
    return line_of(error)


# Config, plugins and arguments: before TensorFlow


@pytest.mark.parametrize("name", COMMANDS)
def test_config(name, here, capfd):
    arguments, expected = COMMANDS[name]
    assert expected.format(here=here) in refused(arguments, capfd, here)


def test_config_errors_come_before_tensorflow(here):
    script = """
        import sys
        from vaeflow.cli import main
        for arguments in {commands!r}:
            assert main(arguments) == 2, arguments
        sys.exit(9 if {{"tensorflow", "keras"}} & set(sys.modules) else 0)
    """
    commands = [arguments for arguments, _ in COMMANDS.values()]
    command = [sys.executable, "-c", dedent(script).format(commands=commands)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == len(commands)


# Data


def _save(path, **arrays):
    np.savez(path, **arrays)


PIXELS = np.linspace(0, 1, 6 * 4 * 4, dtype=np.float32).reshape(6, 4, 4)
NAN = np.where(np.arange(96).reshape(6, 4, 4) == 37, np.float32("nan"), PIXELS)
LABELS = np.arange(6)
OBJECTS = np.array([[1, "a"], [None, 2]], object)

DATA = {
    "missing": (lambda path: None, "No such file or directory"),
    "damaged": (lambda path: path.write_bytes(b"PK\x03\x04 and no more"), "not a complete .npz file"),
    "cut short": (lambda path: (_save(path, x_train=PIXELS), os.truncate(path, 300)), "not a complete .npz file"),
    "no array": (lambda path: _save(path, images=PIXELS), "no array 'x_train'; available: images"),
    "empty": (lambda path: _save(path, x_train=PIXELS[:0]), "x_train: the data set is empty, its shape is (0, 4, 4)"),
    "a row": (lambda path: _save(path, x_train=PIXELS[0, 0]), "x_train: the shape is (4,); allowed are [N, K],"),
    "text": (lambda path: _save(path, x_train=PIXELS.astype(str)), "x_train: the type is <U32; allowed are uint8"),
    "whole numbers": (
        lambda path: _save(path, x_train=PIXELS.astype(int)),
        "x_train: the type is int64; allowed are",
    ),
    "NaN": (lambda path: _save(path, x_train=NAN), "x_train[2, 1, 1] is nan: float pixels must be in [0, 1]; remove"),
    "range": (lambda path: _save(path, x_train=255 * PIXELS), "float pixels must be in [0, 1]; divide by the largest"),
    "negative": (lambda path: _save(path, x_train=-PIXELS), "float pixels must be in [0, 1]"),
    "bits": (
        lambda path: _save(path, x_train=PIXELS > 0.5, x_test=(PIXELS > 0.5).astype(np.uint8)),
        "every byte is 0 or",
    ),
    "labels": (lambda path: _save(path, x_train=PIXELS, y_train=LABELS[:5]), "y_train: there are 5 labels for 6"),
    "label type": (
        lambda path: _save(path, x_train=PIXELS, y_train=LABELS / 2),
        "y_train: the type of the labels is f",
    ),
    "lone labels": (lambda path: _save(path, x_train=PIXELS, y_test=LABELS), "y_test: labels without examples; x_test"),
    "test of another shape": (lambda path: _save(path, x_train=PIXELS, x_test=PIXELS[:, 1:]), "they must agree"),
    "pickle": (lambda path: _save(path, x_train=OBJECTS), "an array of Python objects needs pickle, which is not"),
}


@pytest.mark.parametrize("name", DATA)
def test_data(name, here, capfd):
    write, expected = DATA[name]
    write(here / "data.npz")
    line = refused(["train", "mnist-2d", *on("data.npz")], capfd, here)
    assert expected in line
    assert line.startswith("data.npz: ") or "arrays: an example of test" in line


def test_a_pickled_npy_is_not_loaded(here, capfd):
    np.save(here / "data.npy", OBJECTS, allow_pickle=True)
    line = refused(["train", "mnist-2d", *on("data.npy")], capfd, here)
    assert line == "data.npy: an array of Python objects needs pickle, which is not allowed; save plain numbers"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("dataset.validation=6", "arrays: validation=6 leaves none of 6 training examples"),
        ("dataset.train_examples=7", "arrays: train_examples=7; allowed are 1 to 6"),
        ("dataset.test_examples=1", "arrays: test_examples=1, but there is no test split"),
        (
            "dataset.labels=y.npy",
            "labels=y.npy: this option is only for a single .npy file; in data.npz labels must be named y_train",
        ),
    ],
)
def test_splits(setting, expected, here, capfd):
    _save(here / "data.npz", x_train=PIXELS)
    assert refused(["train", "mnist-2d", *on("data.npz", setting)], capfd, here) == expected


def test_data_errors_come_before_tensorflow(here):
    after = "import sys; from vaeflow.cli import main; code = main(sys.argv[1:]);"
    command = f"{after} sys.exit(code + 7 * ('tensorflow' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", command, "train", "mnist-2d", *on("data.npz")], capture_output=True)
    assert done.returncode == 2, done.stderr


# Components that do not fit

FLAT = {"x_train": PIXELS.reshape(6, 16)}
ODD = {"x_train": PIXELS[:, 1:, 1:]}
CONV = ("encoder=conv-mnist", "decoder=conv-mnist")
MLP = ("encoder=mlp", "decoder=mlp")


@pytest.mark.parametrize(
    ("arrays", "settings", "expected"),
    [
        (
            FLAT,
            ["encoder=conv-mnist"],
            "'conv-mnist' needs images (height, width, channels), but an example has shape (1",
        ),
        (FLAT, ["encoder=mlp", "decoder=conv-mnist"], "'conv-mnist' needs images (height, width, channels)"),
        (ODD, CONV, "decoder 'conv-mnist' needs an even height and width of the image, not 3x3"),
        (ODD, ["encoder=mlp", "encoder.activation=tahn", "decoder=mlp"], "encoder 'mlp' of vaeflow "),
        (ODD, ["encoder=mlp", "encoder.hidden=[0]", "decoder=mlp"], "encoder 'mlp' of vaeflow "),
        (
            ODD,
            [
                *MLP,
                "learning_rate.name=piecewise-constant-decay",
                "learning_rate.boundaries=[1]",
                "learning_rate.values=[1]",
            ],
            "learning_rate: piecewise-constant-decay needs one more value than boundaries, not 1 values and 1",
        ),
        (
            ODD,
            ["encoder=raises"],
            "encoder 'raises' of {here}/broken.py (--plugin) could not be built: KeyError: 'depth'",
        ),
        (ODD, ["encoder=tuple"], "encoder 'tuple' of {here}/broken.py (--plugin) built tuple, not a keras.Model"),
        (ODD, ["encoder=mlp", "decoder=narrow"], "decoder 'narrow' of {here}/broken.py (--plugin) failed on z "),
        (
            ODD,
            [*MLP, "callbacks=[{name='raises'}]"],
            "callback 'raises' of {here}/broken.py (--plugin) could not be built: OSError: [Errno 5] no such server",
        ),
        (
            ODD,
            [*MLP, "metrics=['summed']"],
            "metric 'summed' of {here}/broken.py (--plugin) returned float32(2, 3) for 3 examples, expected float32",
        ),
        (
            ODD,
            [*MLP, "metrics=['unknown']"],
            "metric 'unknown' of {here}/broken.py (--plugin) failed on 3 examples of zeros: AttributeError: 'Terms' ",
        ),
        (
            ODD,
            [*MLP, "objective=total"],
            "objective 'total' of {here}/broken.py (--plugin) returned float32() for 3 examples, expected float32(3,)",
        ),
        (
            ODD,
            [*MLP, "transforms=['halved']"],
            "(--plugin) returned float32(3, 2, 3, 1) for 3 examples, expected float32(3, 3, 3, 1)",
        ),
        (
            ODD,
            [*MLP, "transforms=[{name='halved', noise='steps'}]"],
            "(--plugin) has noise 'steps'; did you mean 'step'? Available: example, none, step",
        ),
        (FLAT, [*MLP, "transforms=['pad']"], "transform 'pad' needs images (height, width, channels), but an example"),
        (ODD, [*MLP, "transforms=['downsample']"], "transform 'downsample': factor = 2 does not divide 3x3 pixels"),
    ],
)
def test_components(arrays, settings, expected, here, capfd):
    _save(here / "data.npz", **arrays)
    data = ["dataset=arrays", "dataset.path=data.npz"]
    line = refused(
        ["train", "mnist-2d", *data, *SHORT, "batch_size=6", *settings, "--plugin", "broken.py"], capfd, here
    )
    assert expected.format(here=here) in line


def test_a_loss_that_is_never_finite_stops_the_run(here, capfd):
    _save(here / "data.npz", x_train=np.full((256, 8), 3e38, np.float32))
    settings = ["dataset.check=false", "binarization=none", "likelihood=gaussian", "batch_size=4", "checkpoint.keep=1"]
    assert main(["train", "mnist-2d", *on("data.npz", *settings), "--run-dir", "made"]) == 4
    line = line_of(capfd.readouterr().err)
    expected = "the loss or its gradient was not finite for 50 steps in a row, up to step 50; those steps were skipped"
    assert line.startswith(expected)


def test_a_learning_rate_that_blows_up_stops_the_run(here, digits, capfd):
    settings = on(digits, "learning_rate=1e30", "batch_size=4", "epochs=2", "clip_norm=none", "optimizer=sgd")
    assert main(["train", "mnist-2d", *settings, "--run-dir", "made"]) == 4
    assert line_of(capfd.readouterr().err).endswith("start a new run: try a smaller learning_rate or clip_norm")


# A run's directory


def test_a_file_in_the_way_of_the_run_directory(here, digits, capfd):
    (here / "file").touch()
    line = refused(["train", "mnist-2d", *on(digits), "--run-dir", "file/run"], capfd, here, code=1)
    assert line == "the run directory file/run can't be created: Not a directory"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a /proc")  # noqa: PTH112
def test_a_directory_that_cannot_be_written(here, digits, capfd):
    line = refused(["train", "mnist-2d", *on(digits), "--run-dir", "/proc/vaeflow/run"], capfd, here, code=1)
    assert re.fullmatch(r"the run directory /proc/vaeflow\S* can't be created: .+", line)


@contextlib.contextmanager
def mounted(folder, options):
    """Mount a small file system of memory, or skip the test where that is forbidden."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True)
    if done.returncode:
        pytest.skip("needs the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_read_only_file_system(here, digits, capfd):
    with mounted(here / "disk", "ro"):
        line = refused(["train", "mnist-2d", *on(digits), "--run-dir", "disk/run"], capfd, here, code=1)
    assert line == "the run directory disk/run can't be created: Read-only file system"


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_full_disk_before_the_first_step(here, digits, capfd):
    with mounted(here / "disk", "size=64k") as disk:
        with contextlib.suppress(OSError):
            (disk / "filler").write_bytes(bytes(60_000))
        line = refused(["train", "mnist-2d", *on(digits), "--run-dir", "disk/run"], capfd, here, code=1)
    assert "No space left on device" in line


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
@pytest.mark.parametrize("tensorboard", ["false", "true"])
def test_a_full_disk_while_training(tensorboard, here, digits, capfd):
    settings = on(
        digits, "checkpoint.every_steps=1", "checkpoint.keep=99", "epochs=9", f"log.tensorboard={tensorboard}"
    )
    with mounted(here / "disk", "size=1m") as disk:
        assert main(["train", "mnist-2d", *settings, "--run-dir", "disk/run"]) == 74
        out, err = capfd.readouterr()
        found = sorted(path.name for path in (disk / "run/checkpoints").iterdir())
        shutil.copytree(disk / "run", here / "run", dirs_exist_ok=True)
    assert re.search(r"step \d+ could not be saved: .*No space left on device", line_of(err))
    assert "Earlier checkpoints are valid, and training continues" in out
    assert found
    assert all(name.startswith("step-") for name in found)
    assert main(["resume", "run"]) == 0
    assert f"resuming from step {int(found[-1].removeprefix('step-'))} of 72" in capfd.readouterr().out


# Python ignores SIGXFSZ, so that a write past the limit fails as on a full disk.
LIMIT = """
    import resource
    from pathlib import Path
    from vaeflow import Component, hookimpl
    from vaeflow.callbacks import Callback
    class Limit(Callback):
        def __init__(self, after):
            self._left = after
        def on_start(self, run):
            self._count(run)
        def on_checkpoint(self, run, step):
            self._count(run)
        def _count(self, run):
            if self._left == 0 and not list(run.directory.glob("environment-*")):
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
            self._left -= 1
    def limit(*, after: int):
        return Limit(after)
    @hookimpl
    def vaeflow_components():
        yield Component("callback", "limit", limit)
"""


@pytest.mark.parametrize("good", [0, 2])
def test_a_disk_that_takes_no_more_than_some_checkpoints(good, digits, tmp_path, capfd):
    (tmp_path / "limit.py").write_text(dedent(LIMIT))
    run = tmp_path / "limited"
    settings = on(digits, "checkpoint.every_steps=3", f"callbacks=[{{name='limit', after={good}}}]")
    arguments = ["train", "mnist-2d", "--plugin", tmp_path / "limit.py", "--run-dir", run, *settings]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        assert main([str(a) for a in arguments]) == 74
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    out, err = capfd.readouterr()
    saved = [f"step-{step:09d}" for step in (0, 3, 6)[: good + 1]]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == saved
    for step in range(3 * good + 3, 16, 3):
        assert f"warning: step {step} could not be saved: {run}/checkpoints/.step-{step:09d}." in out
    assert line_of(err).startswith(f"step 16 could not be saved: {run}/checkpoints/.step-000000016.")
    assert not (run / "summary.json").exists()
    assert main(["resume", str(run), "--plugin", str(tmp_path / "limit.py")]) == 0
    assert json.loads((run / "summary.json").read_text())["steps"] == 16


def damage(run, number):
    """Flip a byte of a checkpoint's weights."""
    path = sorted((run / "checkpoints").iterdir())[number]
    file = path / "state.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return path


def test_corrupt_newest_checkpoint_is_named_and_an_older_used(run, finished, capfd):
    (run / "summary.json").unlink()
    path = damage(run, -1)
    assert main(["resume", str(run)]) == 0
    out = capfd.readouterr().out
    assert f"warning: checkpoint {path} is corrupt (state.safetensors has a wrong checksum)" in out
    assert "resuming from step 12 of 16" in out
    assert tree(path).keys() == tree(finished / "checkpoints" / path.name).keys()


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda path: (path / "manifest.json").write_text("{"), "manifest.json can't be read"),
        (lambda path: (path / "manifest.json").write_text('{"sha256": {}}'), "manifest.json is incomplete"),
        (lambda path: (path / "state.safetensors").unlink(), "state.safetensors is missing"),
        (lambda path: (path / "progress.json").write_text(""), "progress.json has 0 bytes"),
        (lambda path: (shutil.rmtree(path), path.touch()), "it is a regular file, not a directory"),
    ],
)
def test_no_damage_of_the_newest_checkpoint_is_overlooked(harm, expected, run, capfd):
    harm(run / "checkpoints/step-000000016")
    assert main(["sample", str(run)]) == 0
    out, warnings = capfd.readouterr()
    assert f"is corrupt ({expected}" in warnings
    assert "; using the previous one" in warnings
    assert len(out.splitlines()) == 1  # the file's path, for programs


def test_a_run_without_a_valid_checkpoint_is_not_restarted(run, capfd):
    for number in range(3):
        damage(run, number)
    before = tree(run)
    assert main(["resume", str(run)]) == 1
    line = line_of(capfd.readouterr().err)
    assert line.startswith(f"{run}/checkpoints: every checkpoint is corrupt; nothing was changed")
    assert tree(run) == before


def test_a_checkpoint_of_another_model(run, capfd):
    config = run / "config.toml"
    config.write_text(config.read_text().replace("latent_size = 2", "latent_size = 3"))
    assert "latent_size was 2 and is 3" in refused(["resume", run], capfd, run)
    assert "is of another model" in refused(["resume", run, "--accept-changes"], capfd, run, code=1)


HOLD = """
import sys
from pathlib import Path
from vaeflow.training.run_files.directory import RunDirectory
with RunDirectory.open(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_another_process_holds(run, capfd):
    command = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        line = refused(["resume", run], capfd, run)
        holder.stdin.close()
    assert line == f"{run} is in use by another process: wait for it, or use another directory"


def test_a_split_that_is_not_there(run, capfd):
    line = refused(["evaluate", run, "--split", "validation"], capfd, run)
    assert line == "data set 'arrays' has no split 'validation'; available: train, test"


def test_samples_are_not_overwritten(run, capfd):
    (run / "samples-0.npy").touch()
    assert "samples-0.npy already exists and is not overwritten" in refused(["sample", run], capfd, run)


def test_samples_that_are_no_pictures(here, capfd):
    _save(here / "data.npz", **FLAT)
    train(here / "made", "data.npz")
    line = refused(["sample", "made", "--out", "samples.png"], capfd, here)
    assert line == "examples of shape (16,) are not images: use a .npy file for --out"
