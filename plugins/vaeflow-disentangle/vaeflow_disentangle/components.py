"""The build functions of what the package has; they import TensorFlow when they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    import keras

    from vaeflow.callbacks import Callback
    from vaeflow.contracts import Objective, SplitMetric

Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Many = Annotated[int, Field(ge=100)]
Parts = Annotated[int, Field(ge=2)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def beta_tc(
    *,
    alpha: Weight = 1.0,
    beta: Weight = 6.0,
    gamma: Weight = 1.0,
    estimator: Literal["weighted", "stratified"] = "weighted",
    examples: Count | None = None,
    samples: Count = 1,
) -> Objective:
    """The beta-TCVAE (Chen et al. 2018): weights for the parts of the KL divergence, beta for the total correlation.

    The parts are estimated over a microbatch, so the weights depend on the number of microbatches. `kl_schedule`
    applies to the KL divergence of the ELBO; the parts are added with alpha - 1, beta - 1 and gamma - 1. Groups of
    latents must be vectors with diagonal Gaussian posteriors; the parts of several groups are added.

    Args:
        alpha: weight of the mutual information of x and z.
        beta: weight of the total correlation of z.
        gamma: weight of the KL divergence of each dimension of q(z) from the prior.
        estimator: of q(z): minibatch-weighted or minibatch-stratified sampling.
        examples: N, the number of training examples; `stratified` needs it. For `weighted` it adds a constant to the
            loss.
        samples: L, the samples of z per example in a training step.

    Raises:
        UsageError: if `stratified` is selected without `examples`.
    """
    if estimator == "stratified" and examples is None:
        raise UsageError(
            "objective beta-tc: estimator = 'stratified' needs the number of training examples: set objective.examples"
        )
    from vaeflow_disentangle.total_correlation import BetaTC

    return BetaTC(samples, alpha, beta, gamma, stratified=estimator == "stratified", examples=examples)


def dip_vae(
    *,
    variant: Literal["i", "ii"] = "ii",
    off_diagonal: Weight = 10.0,
    diagonal: Weight | None = None,
    samples: Count = 1,
) -> Objective:
    """The DIP-VAE (Kumar et al. 2018): the covariance of the latents over the data is held near the identity.

    The covariance is that of a microbatch, so the weights depend on the number of microbatches. The model must have one
    group of latents, a vector; variant ii needs the posterior `diagonal-gaussian`.

    Args:
        variant: `i` for the covariance of the posterior's means, `ii` for that of q(z).
        off_diagonal: weight of the squared covariances of two dimensions.
        diagonal: weight of the squared distance of variances from 1; by default 10 times `off_diagonal` for variant i
            and `off_diagonal` for variant ii, as in the paper.
        samples: L, the samples of z per example in a training step.
    """
    from vaeflow_disentangle.moments import DisentangledPrior

    usual = off_diagonal * (10.0 if variant == "i" else 1.0)
    return DisentangledPrior(samples, variant, off_diagonal, usual if diagonal is None else diagonal)


def factor_vae(
    *,
    gamma: Weight = 10.0,
    hidden: tuple[Count, ...] = (1000, 1000, 1000, 1000, 1000, 1000),
    discriminator_rate: Rate = 1e-4,
    samples: Count = 1,
) -> Objective:
    """FactorVAE (Kim and Mnih 2018): a discriminator, a second player, estimates the total correlation of the latents.

    Codes are permuted within a microbatch, so the weights depend on the number of microbatches. The discriminator and
    the model learn from the same examples; the paper draws a second batch for the discriminator. The model must have
    one group of latents, a vector.

    Args:
        gamma: weight of the total correlation.
        hidden: units of the discriminator's layers, with leaky ReLU; two logits follow.
        discriminator_rate: learning rate of the discriminator's Adam, with decays 0.5 and 0.9.
        samples: L, the samples of z per example in a training step.
    """
    from vaeflow_disentangle.factor import FactorVAE

    return FactorVAE(samples, gamma, hidden, discriminator_rate)


def conv_encoder(x_shape: tuple[int, ...], *, width: Count = 128) -> keras.Model:
    """Four convolutions, 4 by 4 with stride 2 (32, 32, 64 and 64), and a dense layer (Kim and Mnih 2018, appendix).

    Args:
        x_shape: (H, W, C), 64 by 64 in the paper.
        width: F, units of the dense layer.

    Raises:
        UsageError: if x is not an image.
    """
    _require_image("encoder", x_shape)
    from vaeflow_disentangle.networks import encoder

    return encoder(x_shape, width=width)


def conv_decoder(latent_size: int, output_shape: tuple[int, ...], *, width: Count = 128) -> keras.Model:
    """The encoder `conv-64` in reverse order (Kim and Mnih 2018, appendix): latents to a likelihood's parameters.

    Args:
        latent_size: D.
        output_shape: (H, W, P); sides that are not multiples of 16 are cut from the next one.
        width: units of the dense layer after the latents.

    Raises:
        UsageError: if the output is not an image.
    """
    _require_image("decoder", output_shape)
    from vaeflow_disentangle.networks import decoder

    return decoder(latent_size, output_shape, width=width)


def disentanglement(*, examples: Many = 10_000, bins: Parts = 20, parts: Parts = 10) -> Callback:
    """Writes MIG, SAP and DCI at the end of a run to `disentanglement.json`, with a picture `disentanglement.png`.

    They are those of the posteriors' means on the test split, or else on the validation split, or else on the training
    split. The data set must know the factors of its examples, as `shapes` does; otherwise a warning is printed and
    nothing is written.

    Args:
        examples: most examples that are encoded.
        bins: equal parts of a code's range, for MIG and SAP.
        parts: equal parts of the range of a factor without classes, for MIG.
    """
    from vaeflow_disentangle.callback import Disentanglement

    return Disentanglement(examples, bins, parts)


def disentanglement_scores(*, examples: Many = 10_000, bins: Parts = 20, parts: Parts = 10) -> SplitMetric:
    """MIG, SAP and DCI of the posteriors' means on an evaluation's split.

    The data set must know the factors of its examples, as `shapes` does; otherwise nothing is computed.

    Args:
        examples: most examples that are encoded.
        bins: equal parts of a code's range, for MIG and SAP.
        parts: equal parts of the range of a factor without classes, for MIG.
    """
    from vaeflow_disentangle.metric import DisentanglementScores

    return DisentanglementScores(examples, bins, parts)


def _require_image(kind: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise UsageError(
            f"{kind} 'conv-64' needs images (height, width, channels), but the shape is {list(shape)}; try 'mlp'"
        )
