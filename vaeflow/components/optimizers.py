"""Keras's optimizers with their options.

These options are missing, since the engine reduces, clips and accumulates gradients and averages weights itself, the
same way on every strategy: clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum, ema_overwrite_frequency,
gradient_accumulation_steps, loss_scale_factor. These classes are missing: `Optimizer` (the base class),
`LossScaleOptimizer` (the engine scales the loss) and `MultiOptimizer` (options can't contain other optimizers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import Field

if TYPE_CHECKING:
    import keras

    Rate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule

Decay = Annotated[float, Field(ge=0, lt=1)]
PositiveDecay = Annotated[float, Field(gt=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
NonPositive = Annotated[float, Field(le=0)]
Count = Annotated[int, Field(ge=0)]
Steps = Annotated[int, Field(ge=1)]


def adadelta(
    learning_rate: Rate,
    *,
    rho: Decay = 0.95,
    epsilon: NonNegative = 1e-7,
    weight_decay: NonNegative | None = None,
) -> keras.optimizers.Adadelta:
    """Zeiler 2012: steps scaled by windows of past gradients and updates. Its paper's learning rate is 1."""
    import keras

    return keras.optimizers.Adadelta(learning_rate, rho=rho, epsilon=epsilon, weight_decay=weight_decay)


def adafactor(
    learning_rate: Rate,
    *,
    beta_2_decay: float = -0.8,
    epsilon_1: NonNegative = 1e-30,
    epsilon_2: NonNegative = 1e-3,
    clip_threshold: NonNegative = 1.0,
    relative_step: bool = True,
    weight_decay: NonNegative | None = None,
) -> keras.optimizers.Adafactor:
    """Shazeer and Stern 2018: Adam in less memory, by factored second moments."""
    import keras

    return keras.optimizers.Adafactor(
        learning_rate,
        beta_2_decay=beta_2_decay,
        epsilon_1=epsilon_1,
        epsilon_2=epsilon_2,
        clip_threshold=clip_threshold,
        relative_step=relative_step,
        weight_decay=weight_decay,
    )


def adagrad(
    learning_rate: Rate,
    *,
    initial_accumulator_value: NonNegative = 0.1,
    epsilon: NonNegative = 1e-7,
    weight_decay: NonNegative | None = None,
) -> keras.optimizers.Adagrad:
    """Duchi and others 2011: steps shrink with the sum of squared gradients."""
    import keras

    return keras.optimizers.Adagrad(
        learning_rate, initial_accumulator_value=initial_accumulator_value, epsilon=epsilon, weight_decay=weight_decay
    )


def adam(
    learning_rate: Rate,
    *,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    amsgrad: bool = False,
    weight_decay: NonNegative | None = None,
) -> keras.optimizers.Adam:
    """Kingma and Ba 2014: steps scaled by running first and second moments."""
    import keras

    from vaeflow.components.fused_adam import fused

    return fused(keras.optimizers.Adam)(
        learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, amsgrad=amsgrad, weight_decay=weight_decay
    )


def adamax(
    learning_rate: Rate,
    *,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    weight_decay: NonNegative | None = None,
) -> keras.optimizers.Adamax:
    """Kingma and Ba 2014: Adam by the infinity norm."""
    import keras

    return keras.optimizers.Adamax(
        learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, weight_decay=weight_decay
    )


def adamw(
    learning_rate: Rate,
    *,
    weight_decay: NonNegative = 0.004,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    amsgrad: bool = False,
) -> keras.optimizers.AdamW:
    """Loshchilov and Hutter 2017: Adam with decoupled weight decay."""
    import keras

    from vaeflow.components.fused_adam import fused

    return fused(keras.optimizers.AdamW)(
        learning_rate, weight_decay=weight_decay, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, amsgrad=amsgrad
    )


def ftrl(
    learning_rate: Rate,
    *,
    learning_rate_power: NonPositive = -0.5,
    initial_accumulator_value: NonNegative = 0.1,
    l1_regularization_strength: NonNegative = 0.0,
    l2_regularization_strength: NonNegative = 0.0,
    l2_shrinkage_regularization_strength: NonNegative = 0.0,
    beta: float = 0.0,
    weight_decay: NonNegative | None = None,
) -> keras.optimizers.Ftrl:
    """McMahan and others 2013: follow the regularized leader, for shallow sparse models."""
    import keras

    return keras.optimizers.Ftrl(
        learning_rate,
        learning_rate_power=learning_rate_power,
        initial_accumulator_value=initial_accumulator_value,
        l1_regularization_strength=l1_regularization_strength,
        l2_regularization_strength=l2_regularization_strength,
        l2_shrinkage_regularization_strength=l2_shrinkage_regularization_strength,
        beta=beta,
        weight_decay=weight_decay,
    )


def lamb(
    learning_rate: Rate,
    *,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    weight_decay: NonNegative | None = None,
) -> keras.optimizers.Lamb:
    """You and others 2019: Adam with layer-wise steps, for large batches."""
    import keras

    return keras.optimizers.Lamb(
        learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, weight_decay=weight_decay
    )


def lion(
    learning_rate: Rate,
    *,
    beta_1: PositiveDecay = 0.9,
    beta_2: Decay = 0.99,
    weight_decay: NonNegative | None = None,
) -> keras.optimizers.Lion:
    """Chen and others 2023: the sign of an interpolated momentum; it needs a smaller learning rate than Adam."""
    import keras

    return keras.optimizers.Lion(learning_rate, beta_1=beta_1, beta_2=beta_2, weight_decay=weight_decay)


def muon(
    learning_rate: Rate,
    *,
    adam_beta_1: Decay = 0.9,
    adam_beta_2: Decay = 0.999,
    adam_weight_decay: NonNegative = 0.004,
    epsilon: NonNegative = 1e-7,
    weight_decay: NonNegative = 0.004,
    exclude_layers: tuple[str, ...] | None = None,
    exclude_embeddings: bool = True,
    muon_a: float = 3.4445,
    muon_b: float = -4.775,
    muon_c: float = 2.0315,
    adam_lr_ratio: NonNegative = 1.0,
    momentum: Decay = 0.95,
    ns_steps: Steps = 5,
    nesterov: bool = True,
    rms_rate: NonNegative | None = 0.2,
) -> keras.optimizers.Muon:
    """Jordan 2024: orthogonalized momentum for 2-D weights; AdamW for others and for names in `exclude_layers`."""
    import keras

    return keras.optimizers.Muon(
        learning_rate,
        adam_beta_1=adam_beta_1,
        adam_beta_2=adam_beta_2,
        adam_weight_decay=adam_weight_decay,
        epsilon=epsilon,
        weight_decay=weight_decay,
        exclude_layers=None if exclude_layers is None else list(exclude_layers),
        exclude_embeddings=exclude_embeddings,
        muon_a=muon_a,
        muon_b=muon_b,
        muon_c=muon_c,
        adam_lr_ratio=adam_lr_ratio,
        momentum=momentum,
        ns_steps=ns_steps,
        nesterov=nesterov,
        rms_rate=rms_rate,
    )


def nadam(
    learning_rate: Rate,
    *,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    weight_decay: NonNegative | None = None,
) -> keras.optimizers.Nadam:
    """Dozat 2015: Adam with Nesterov momentum."""
    import keras

    return keras.optimizers.Nadam(
        learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, weight_decay=weight_decay
    )


def rmsprop(
    learning_rate: Rate,
    *,
    rho: Decay = 0.9,
    momentum: Decay = 0.0,
    epsilon: NonNegative = 1e-7,
    centered: bool = False,
    weight_decay: NonNegative | None = None,
) -> keras.optimizers.RMSprop:
    """Hinton 2012: steps scaled by the root of a running mean square. `epsilon` is added inside the root."""
    import keras

    return keras.optimizers.RMSprop(
        learning_rate, rho=rho, momentum=momentum, epsilon=epsilon, centered=centered, weight_decay=weight_decay
    )


def schedule_free_adamw(
    learning_rate: Rate,
    *,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-8,
    warmup_steps: Count = 0,
    weight_decay: NonNegative | None = None,
) -> keras.optimizers.ScheduleFreeAdamW:
    """Defazio and others 2024: AdamW by averaging in place of a learning rate schedule."""
    import keras

    return keras.optimizers.ScheduleFreeAdamW(
        learning_rate,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
        warmup_steps=warmup_steps,
        weight_decay=weight_decay,
    )


def sgd(
    learning_rate: Rate,
    *,
    momentum: Decay = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative | None = None,
) -> keras.optimizers.SGD:
    """Gradient descent with optional momentum."""
    import keras

    return keras.optimizers.SGD(learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
