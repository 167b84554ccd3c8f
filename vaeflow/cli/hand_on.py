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
    strategy_option,
)
from vaeflow.commands.out import require_new
from vaeflow.distributed.job.job import Job

FORMATS = ("keras", "saved-model", "onnx", "npz")


@click.command()
@run_argument
@click.argument("settings", nargs=-1, metavar="[strategy.KEY=VALUE]...")
@strategy_option
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
    settings: tuple[str, ...],
    strategy: str | None,
    split: str,
    out: Path,
    best: bool,
    accept_changes: bool,
    modules: tuple[str, ...],
    data_dir: Path | None,
) -> None:
    """Write the posterior's means of all examples of a split, in the order in which they are stored.

    RUN is the directory of the run. This runs on one device, unless --strategy names another strategy or a launcher
    started several processes.

    Example: vaeflow encode runs/mnist-2d --split train --out z.npy
    """
    processes = Job.current().processes
    if processes == 1:  # otherwise the other ranks are notified
        require_run(run)
        require_new(out, (".npy", ".npz"))
    from vaeflow.commands.encode import encode_run

    written = encode_run(
        run,
        out,
        split=split,
        best=best,
        modules=modules,
        settings=[f"strategy={strategy or ('single' if processes == 1 else 'auto')}", *settings],
        data_dir=data_dir,
        accept_changes=accept_changes,
    )
    if written is not None:
        click.echo(str(written))


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
    click.echo(str(export_run(run, to, out, licence=licence, **options)))  # type: ignore[arg-type]  # one dict of several types
