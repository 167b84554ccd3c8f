"""Two targets for which theory says how much a better prior, a second layer of latents or a better posterior gains.

    python docs/examples/vaeflow_targets.py

prints the exact mean log p(x) of the test examples, and the most that the plain models can reach.
"""

from __future__ import annotations

import numpy as np

from vaeflow import Component, hookimpl

CENTRES = np.array([(-1.5, -1.5), (-1.5, 1.5), (1.5, -1.5), (1.5, 1.5)])
WITHIN = 0.35  # standard deviation of a cluster
W = np.array([(1.0, 0.9), (0.8, 1.0), (0.6, 0.4)])
NOISE = 0.5  # standard deviation of x given z
TRAIN, TEST = 10_000, 10_000


def clusters(folders):  # noqa: ARG001  # nothing is read
    """Points in the plane around four centres, [N, 2].

    Args:
        folders: of data sets.
    """
    return _dataset("clusters", points_of_clusters(1, TRAIN), points_of_clusters(2, TEST))


def correlated(folders):  # noqa: ARG001  # nothing is read
    """X = W z + noise with known W, [N, 3]: the posterior of z is Gaussian, with correlated latents.

    Args:
        folders: of data sets.
    """
    return _dataset("correlated", points_of_w(1, TRAIN), points_of_w(2, TEST))


def known_w(latent_size, output_shape):
    """W, which is not trained: else the model could turn its latents until they are not correlated.

    Args:
        latent_size: 2.
        output_shape: (3,).
    """
    import keras

    z = keras.Input((latent_size,))
    layer = keras.layers.Dense(output_shape[0], use_bias=False, trainable=False, dtype="float32")
    decoder = keras.Model(z, layer(z), name="decoder")
    layer.set_weights([W.T])
    return decoder


@hookimpl
def vaeflow_components():
    """Return the data sets and the decoder."""
    yield Component("dataset", "clusters", clusters)
    yield Component("dataset", "correlated", correlated)
    yield Component("decoder", "known-w", known_w)


def points_of_clusters(seed, count):
    """Return points [count, 2] float32."""
    rng = np.random.default_rng(seed)
    return (CENTRES[rng.integers(0, 4, count)] + WITHIN * rng.normal(size=(count, 2))).astype(np.float32)


def points_of_w(seed, count):
    """Return x [count, 3] float32."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, 2)) @ W.T + NOISE * rng.normal(size=(count, 3))).astype(np.float32)


def log_normal(x, covariance):
    """Return log N(x; 0, covariance) of rows, [N] nats."""
    half = np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x)
    return -0.5 * (half + np.linalg.slogdet(2.0 * np.pi * covariance)[1])


def log_clusters(x):
    """Return log p(x) of the clusters, [N] nats."""
    each = [log_normal(x - centre, WITHIN**2 * np.eye(2)) for centre in CENTRES]
    return np.logaddexp.reduce(each, axis=0) - np.log(len(CENTRES))


def lost_by_independent_latents():
    """Return the smallest KL of a diagonal Gaussian from the posterior given W, nats (Bishop 2006, section 10.1.2).

    Its precisions are the diagonal of the posterior's precision matrix I + W^T W / noise^2.
    """
    precision = np.eye(2) + W.T @ W / NOISE**2
    return 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])


def _dataset(name, train, test):
    from vaeflow.contracts import Dataset, Split

    return Dataset(name, Split(train), None, Split(test), source="docs/examples/vaeflow_targets.py")


if __name__ == "__main__":
    x = points_of_clusters(2, TEST).astype(np.float64)
    exact, linear = log_clusters(x).mean(), log_normal(x, np.cov(points_of_clusters(1, TRAIN).T)).mean()
    print(f"clusters: log p(x) {exact:.3f}; best Gaussian, which is what linear maps of N(0, I) can be, {linear:.3f}")
    x = points_of_w(2, TEST).astype(np.float64)
    exact = log_normal(x, W @ W.T + NOISE**2 * np.eye(3)).mean()
    print(f"correlated: log p(x) {exact:.3f}; diagonal posteriors at most {exact - lost_by_independent_latents():.3f}")
