"""How often the same steps end with the same bits, on one device and on two: TensorFlow's sums beside vaeflow's.

    python benchmarks/repeat_steps.py [--times 60] [--steps 5]

The model's prior is a standard normal whose density is written `tf.reduce_sum(z * z, axis=-1)`, so that z has a
gradient of several summands, see vaeflow/runtime/ordered_sums.py. One thread a kernel.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from pathlib import Path

from tensorflow.python.ops import gen_math_ops

from vaeflow.distributed.strategies.mirrored import make_logical_cpus
from vaeflow.plugin_kit.checks.subject import Subject
from vaeflow.plugins.registry import Registry
from vaeflow.runtime.tensorflow_setup import Runtime, start_tensorflow

PLUGIN = Path(__file__).parents[1] / "tests" / "good_plugins.py"


def repeated(replicas: int, times: int, steps: int) -> Counter[str]:
    """Return how often the state after some steps had each hash."""
    experiment = Subject(Registry.load([str(PLUGIN)]), "prior", "normal-by-products").experiment(replicas)
    initial, found = experiment.state.arrays(), Counter[str]()
    for _ in range(times):
        experiment.state.assign(initial)
        experiment.trainer.execute(0, steps)
        found[hashlib.sha256(b"".join(a.tobytes() for a in experiment.state.arrays().values())).hexdigest()[:12]] += 1
    return found


def main() -> None:
    """Print a line for each kind of sum and number of replicas."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=60)
    parser.add_argument("--steps", type=int, default=5)
    asked = parser.parse_args()
    kernel = gen_math_ops.add_n
    start_tensorflow(Runtime(threads=1))
    make_logical_cpus(2)
    for whose, add_n in (("TensorFlow's", kernel), ("vaeflow's", gen_math_ops.add_n)):
        gen_math_ops.add_n = add_n
        for replicas in (1, 2):
            found = repeated(replicas, asked.times, asked.steps)
            print(f"{whose} sums, {replicas} replicas: {len(found)} different ends: {dict(found.most_common())}")


if __name__ == "__main__":
    main()
