"""What a run's model gives after it was saved, in processes that have no run: largest differences over 100 examples.

    python benchmarks/round_trips.py [--only TEXT ...] [--examples 100] [--folder FOLDER]

Every encoder, decoder, posterior, prior, likelihood and recipe that is installed is trained for a few steps, so that no
weight is at its initial value. `run.model`, `run.encoder` and `run.decoder` are saved as `.keras` files and exported as
SavedModels, and the run's directory is removed. One process then loads the `.keras` files with Keras, another one the
SavedModels with TensorFlow alone. They get the same x, z and noise as the run, and their results are compared with
those of `run.encode`, `run.reconstruct`, `run.decode`, `run.trained.generate` and `run.elbo`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SAMPLES = 2  # of z per example, in the ELBO
SEED = 1
QUIET = ("log.tensorboard=false", "plots.draw=[]", "callbacks=[]", "metrics=[]", "learning_rate=1e-3", "ema=0.9")
SHORT = ("steps=3", "batch_size=10", "evaluate.batch_size=50", "checkpoint.keep=1")
MLP = ("encoder=mlp", "encoder.hidden=[32]", "decoder=mlp", "decoder.hidden=[32]", "latent_size=5")
SIZES = {
    "mnist": "{{name='mnist', train_examples=60, test_examples={}}}",
    "fashion-mnist": "{{name='fashion-mnist', train_examples=60, test_examples={}}}",
    "shapes": "{{name='shapes', train_examples=60, test_examples={}}}",
    "simulated-counts": "{{name='simulated-counts', examples={}}}",
}
REAL = "binarization=none"
OF_LIKELIHOOD = {"bernoulli": ()}  # the others take x that is not binary
FOR_GPUS = {"kl-f4-shapes-full": (10, ("steps=1", "batch_size=2", "evaluate.batch_size=10", "learning_rate=1e-5"))}
"""Recipes whose model takes seconds for an example on a CPU: how many examples at most, and settings."""
CLASSES = ("condition.labels=true", "prior={name='diagonal-gaussian', per_class=true}")


def cases(examples: int) -> dict[str, tuple[str, tuple[str, ...], int]]:
    """Return a recipe, settings and the number of examples by what is tried."""
    from vaeflow.plugins.registry import Registry

    registry = Registry.load()
    digits = _data("mnist", examples)
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    counts: dict[str, int] = {}
    for kind, other in (("encoder", "decoder"), ("decoder", "encoder")):
        for name in registry.names(kind):
            both = f"{other}={name}" if name in registry.names(other) else f"{other}=mlp"
            found[f"{kind} `{name}`"] = ("mnist-mlp-20", (digits, f"{kind}={name}", both))
    for kind in ("posterior", "prior"):
        for name in registry.names(kind):
            found[f"{kind} `{name}`"] = ("mnist-mlp-20", (digits, *MLP, f"{kind}={name}"))
    for name in registry.names("likelihood"):
        found[f"likelihood `{name}`"] = (
            "mnist-mlp-20",
            (digits, *MLP, f"likelihood={name}", *OF_LIKELIHOOD.get(name, (REAL,))),
        )
    for width in ("float32", "mixed_bfloat16", "mixed_float16"):
        found[f"labels, `{width}`"] = ("mnist-2d", (digits, *CLASSES, f"precision={width}"))
    for recipe in registry.recipes():
        most, settings = FOR_GPUS.get(recipe.name, (examples, ()))
        count = min(most, examples)
        case = f"recipe `{recipe.name}`" + (f", {count} examples" if count < examples else "")
        found[case] = (recipe.name, (_data(_data_of(recipe.name, registry), count), *settings))
        counts[case] = count
    return {case: (*one, counts.get(case, examples)) for case, one in found.items()}


def _data_of(recipe: str, registry: Any) -> str:
    from vaeflow.config.compose import compose

    name = compose(recipe, (), registry.recipe).config.dataset.name
    return {"sparse-counts": "simulated-counts"}.get(name, name)  # a file of the user's


def _data(name: str, examples: int) -> str:
    count = 5 * examples if name == "simulated-counts" else examples  # a fifth is its test split
    return f"dataset={SIZES[name].format(count)}"


def make(case: str, recipe: str, settings: tuple[str, ...], folder: Path, examples: int) -> None:
    """Train, save all, write what the run gives, and remove the run."""
    import vaeflow
    from vaeflow.data.noise import Noise

    run = vaeflow.train(recipe, overrides=[*SHORT, *QUIET, *settings], run_dir=folder / "run")
    x, conditional = run.examples(count=examples), bool(run.trained.classes)
    labels = {"labels": np.asarray(run.labels(count=examples), np.int64)} if conditional else {}
    model, rng = run.model, np.random.default_rng(SEED)
    noise = rng.standard_normal((examples, model.noise_size)).astype(np.float32)
    width = model.posterior_noise_size
    of_elbo = Noise(SEED, "elbo").normal(0, 0, examples * SAMPLES, width)
    z = run.encode(x, **labels)
    given = {"x": x, "noise": noise, "of_elbo": np.reshape(of_elbo, (examples, SAMPLES, width)), **labels}
    results = {
        "expected": run.reconstruct(x, **labels),
        "decoded": run.decode(z, **labels),
        "sampled": run.trained.generate(noise, **labels),
        "elbo": run.elbo(x, samples=SAMPLES, seed=SEED, **labels),
    }
    np.savez(folder / "data.npz", **given, **results, **_flat(z))
    for name in ("model", "encoder", "decoder"):
        getattr(run, name).save(folder / f"{name}.keras")
        getattr(run, name).export(folder / name, verbose=False)
    info = {"case": case, "weights": model.count_params()}
    (folder / "case.json").write_text(json.dumps(info))
    shutil.rmtree(folder / "run")


def _flat(z: Any) -> dict[str, Any]:
    return {f"z/{name}": one for name, one in z.items()} if isinstance(z, dict) else {"z/": z}


def compare(folder: Path, way: str) -> dict[str, float]:
    """Return the largest differences of one case, by what was computed."""
    data = np.load(folder / "data.npz")
    z = {name[2:]: data[name] for name in data.files if name.startswith("z/")}
    z = z.get("", z)
    labels = (data["labels"],) if "labels" in data.files else ()
    x, noise, of_elbo = data["x"], data["noise"], data["of_elbo"]
    if way == "keras":
        import keras

        from vaeflow import GenerativeModel

        model, encoder, decoder = (
            keras.models.load_model(folder / f"{n}.keras") for n in ("model", "encoder", "decoder")
        )
        assert isinstance(model, GenerativeModel)
        serve, encode, decode, sample = model, model.encode, model.decode, model.generate
        elbo = model.elbo(x, *labels, noise=of_elbo)
    else:
        import tensorflow as tf

        loaded = [tf.saved_model.load(str(folder / name)) for name in ("model", "encoder", "decoder")]
        assert "vaeflow" not in sys.modules
        model, encoder, decoder = loaded[0], loaded[1].serve, loaded[2].serve
        serve, encode, decode, sample = model.serve, model.encode, model.decode, model.sample
        elbo = model.elbo(x, of_elbo, *labels)
    means = [_apart(one, z) for one in (encode(x, *labels), encoder(x, *labels))]
    decoded = [_apart(one, data["decoded"]) for one in (decode(z, *labels), decoder(z, *labels))]
    return {
        "means": max(means),
        "x": max(*decoded, _apart(serve(x, *labels), data["expected"])),
        "samples": _apart(sample(noise, *labels), data["sampled"]),
        "ELBO": _apart(elbo, data["elbo"]),
    }


def _apart(found: Any, expected: Any) -> float:
    if isinstance(expected, dict):
        return max(_apart(found[name], one) for name, one in expected.items())
    found = np.asarray(found)
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    return float(np.max(np.abs(found - expected)))


def report(folders: list[Path]) -> None:
    columns = ("means", "x", "samples", "ELBO")
    names = [f"{way}: {name}" for way in (".keras", "SavedModel") for name in columns]
    print(f"| | weights | mean ELBO, nats | {' | '.join(names)} |")
    print("| --- " * (len(names) + 3) + "|")
    for folder in folders:
        case = json.loads((folder / "case.json").read_text())
        both = [json.loads((folder / f"{way}.json").read_text()) for way in ("keras", "saved-model")]
        cells = " | ".join(f"{one[name]:.0e}" if one[name] else "0" for one in both for name in columns)
        mean = np.load(folder / "data.npz")["elbo"].mean()
        print(f"| {case['case']} | {case['weights']:,} | {mean:,.1f} | {cells} |")


def _stage(name: str, folder: Path, *more: str) -> None:
    subprocess.run([sys.executable, __file__, "--stage", name, "--folder", str(folder), *more], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="texts, one of which a case's name contains")
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="keep what is saved here, and continue from it")
    parser.add_argument("--stage", choices=["make", "keras", "saved-model"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage == "make":
        for number, (case, (recipe, settings, count)) in enumerate(cases(options.examples).items()):
            folder = options.folder / f"{number:02d}"
            wanted = not options.only or any(text in case for text in options.only)
            if wanted and not (folder / "case.json").exists():
                folder.mkdir(exist_ok=True)
                started = time.perf_counter()
                make(case, recipe, settings, folder, count)
                print(f"{case}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
        return
    if options.stage:
        for folder in sorted(options.folder.iterdir()):
            (folder / f"{options.stage}.json").write_text(json.dumps(compare(folder, options.stage)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        _stage(
            "make", folder, "--examples", str(options.examples), *(["--only", *options.only] if options.only else [])
        )
        for way in ("keras", "saved-model"):
            _stage(way, folder)
        print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {options.examples} examples\n")
        report(sorted(folder.iterdir()))


if __name__ == "__main__":
    main()
