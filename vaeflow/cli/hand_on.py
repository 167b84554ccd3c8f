"""Commands that hand on what a run has learned: `vaeflow encode` and `vaeflow export`."""

from __future__ import annotations

from pathlib import Path

import click

from vaeflow.cli.shared import (
    accept_option,
    best_option,
    data_dir_option,
    plugin_option,
    require_alone,
    require_run,
    run_argument,
)

FORMATS = ("keras", "saved-model", "onnx", "npz")


@click.command()
@run_argument
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="Split to encode. Example: --split train",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Output file: .npy, or .npz with an array per group of latents. Example: --out z.npy",
)
@best_option
@accept_option
@plugin_option
@data_dir_option
def encode(
    *,
    run: Path,
    split: str,
    out: Path,
    best: bool,
    accept_changes: bool,
    modules: tuple[str, ...],
    data_dir: Path | None,
) -> None:
    """Write the posterior's means of all examples of a split, in the order in which they are stored.

    RUN is the directory of the run.

    Example: vaeflow encode runs/mnist-2d --split train --out z.npy
    """
    require_alone("encode")
    require_run(run)
    from vaeflow.commands.encode import encode_run

    options = {"best": best, "modules": modules, "data_dir": data_dir, "accept_changes": accept_changes}
    click.echo(str(encode_run(run, out, split=split, **options)))  # type: ignore[arg-type]  # one dict of several types


@click.command()
@run_argument
@click.option("--to", type=click.Choice(FORMATS), required=True, help="Format. Example: --to saved-model")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="New folder for the model and its card. Example: --out digits-vae",
)
@click.option("--licence", default="", help="Licence of the model, for its card. Example: --licence CC-BY-4.0")
@best_option
@accept_option
@plugin_option
@data_dir_option
def export(
    *,
    run: Path,
    to: str,
    out: Path,
    licence: str,
    best: bool,
    accept_changes: bool,
    modules: tuple[str, ...],
    data_dir: Path | None,
) -> None:
    """Write the trained model and a model card into a new folder.

    RUN is the directory of the run. `keras` writes a file for Keras with vaeflow, `saved-model` one for TensorFlow
    alone, `onnx` files for ONNX Runtime (pip install 'vaeflow[onnx]'), `npz` the weights.

    Example: vaeflow export runs/mnist-2d --to saved-model --out digits-vae
    """
    require_alone("export")
    require_run(run)
    from vaeflow.commands.export import export_run

    options = {"best": best, "modules": modules, "data_dir": data_dir, "accept_changes": accept_changes}
    click.echo(str(export_run(run, to, out, licence=licence, **options)))  # type: ignore[arg-type]  # as above
