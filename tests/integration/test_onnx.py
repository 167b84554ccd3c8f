"""`vaeflow export --to onnx`: ONNX Runtime gives the run's numbers, in a process without vaeflow and TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from textwrap import dedent

import numpy as np
import pytest
from helpers.small_runs import on, write_digits

import vaeflow
from vaeflow.cli import main
from vaeflow.commands.export import export_run
from vaeflow.errors import UsageError

EXAMPLES = 100
LOADED = """
    import json, pathlib, sys
    import numpy as np
    import onnxruntime

    given, found, inputs = dict(np.load("given.npz")), {}, {}
    for path in sorted(pathlib.Path("out/onnx").glob("*.onnx")):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        inputs[path.stem] = sorted(one.name for one in session.get_inputs())
        of_prior = {"noise": given["of_prior"]} if path.stem == "sample" else {"noise": given["of_q"]}
        values = {**given, **of_prior}
        (found[path.stem],) = session.run(None, {name: values[name] for name in inputs[path.stem]})
    np.savez("found.npz", **found)
    modules = [name for name in ("vaeflow", "tensorflow", "keras") if name in sys.modules]
    print(json.dumps({"inputs": inputs, "modules": modules}))
"""


def test_without_the_converter_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(UsageError, match=r"pip install 'vaeflow\[onnx\]'") as found:
        export_run(tmp_path / "run", "onnx", tmp_path / "out")
    assert found.value.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [("ema=0.5", "latent_size=3"), ("condition.labels=true", "encoder=conv-mnist", "decoder=conv-mnist")]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the converter
def test_onnx_runtime_gives_the_runs_numbers(tmp_path, mnist_content, settings):
    for name in ("tf2onnx", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed: make test-extras")
    data = write_digits(tmp_path / "digits.npz", mnist_content, train=64, test=EXAMPLES)
    options = [one for one in on(data, "steps=3") if not any(one.startswith(key.split("=")[0]) for key in settings)]
    assert main(["train", "mnist-2d", "--run-dir", str(tmp_path / "run"), *options, *settings]) == 0
    run = vaeflow.load(tmp_path / "run")
    x, labels = run.examples(), run.labels().astype(np.int64) if run.trained.classes else None
    rng, model = np.random.default_rng(0), run.model
    of_prior = rng.normal(size=(EXAMPLES, model.noise_size)).astype(np.float32)
    of_q = rng.normal(size=(EXAMPLES, 5, model.posterior_noise_size)).astype(np.float32)
    z = run.encode(x, labels=labels)
    given = {"x": x, "z": z, "of_prior": of_prior, "of_q": of_q, **({} if labels is None else {"labels": labels})}
    np.savez(tmp_path / "given.npz", **given)
    expected = {
        "encode": z,
        "decode": run.reconstruct(x, labels=labels),
        "sample": run.trained.generate(of_prior, labels=labels),
        "elbo": np.asarray(model.elbo(x, labels, noise=of_q)),
        "log_prob": np.asarray(model.log_prob(x, labels, noise=of_q)),
    }
    assert main(["export", str(tmp_path / "run"), "--to", "onnx", "--out", str(tmp_path / "out")]) == 0
    done = subprocess.run(
        [sys.executable, "-c", dedent(LOADED)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    about, found = json.loads(done.stdout), np.load(tmp_path / "found.npz")
    assert about["modules"] == []
    assert about["inputs"]["decode"] == (["z"] if labels is None else ["labels", "z"])
    assert set(found) == set(expected)
    for name, values in expected.items():
        scale = max(1.0, float(np.abs(values).max()))
        np.testing.assert_allclose(found[name], values, atol=2e-6 * scale, err_msg=name)
