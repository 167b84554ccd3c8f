"""The group of commands. This module does not import TensorFlow; commands import it when they need it."""

from __future__ import annotations

import click

from vaeflow.cli.bench import bench
from vaeflow.cli.compare import compare
from vaeflow.cli.data import data
from vaeflow.cli.doctor import doctor
from vaeflow.cli.group import TeachingGroup
from vaeflow.cli.hand_on import encode, export
from vaeflow.cli.horovod import horovod
from vaeflow.cli.launch import launch
from vaeflow.cli.plugins import plugins
from vaeflow.cli.recipes import recipes
from vaeflow.cli.runs import evaluate, plot, sample
from vaeflow.cli.shared import examples
from vaeflow.cli.sweep import sweep
from vaeflow.cli.train import resume, train
from vaeflow.version import version_of_vaeflow


@click.group(
    cls=TeachingGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "vaeflow train mnist-2d",
        "vaeflow train mnist-2d epochs=2 encoder=mlp encoder.hidden=[400]",
        "vaeflow evaluate runs/mnist-2d",
        "vaeflow plugins",
    ),
)
@click.version_option(version_of_vaeflow(), message="%(prog)s %(version)s")
def app() -> None:
    """Train variational autoencoders on one device or many, with the same results.

    RECIPE is the name of a recipe (mnist-2d) or the path of a TOML file (./mine.toml). RUN is the directory of a
    training run (runs/mnist-2d).
    """


OF_RUNS = (train, resume, sweep, evaluate, compare, sample, plot, encode, export)
for _command in (*OF_RUNS, bench, recipes, plugins, data, launch, horovod, doctor):
    app.add_command(_command)
