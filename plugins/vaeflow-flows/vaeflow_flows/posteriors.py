"""The build functions of the components. TensorFlow is imported only inside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.contracts import Posterior
    from vaeflow_flows.bases import BasisHead

Depth = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]
Variant = Literal["orthogonal", "householder", "triangular"]


def planar(latent_size: int, *, depth: Depth = 8) -> Posterior:
    """Planar flow, amortised (Rezende and Mohamed 2015): each step bends z along one direction per example.

    z' = z + u tanh(w.z + b). The density is known only where it was sampled.

    Args:
        latent_size: D.
        depth: steps; each takes 2 D + 1 numbers from the features.
    """
    from vaeflow_flows.flow import FlowHead
    from vaeflow_flows.planar import PlanarStep

    return FlowHead(latent_size, [PlanarStep(latent_size, number=k) for k in range(depth)])


def iaf(latent_size: int, *, depth: Depth = 4, hidden: tuple[int, ...] = (64,), activation: str = "tanh") -> Posterior:
    """Inverse autoregressive flow (Kingma et al. 2016): sampling takes one pass per step, the density elsewhere D.

    With one latent dimension it is a Gaussian with more layers.

    Args:
        latent_size: D.
        depth: steps; every other one takes the latents in reverse order.
        hidden: units of each hidden layer of a step's masked network; use D or more, so that no latent is blocked.
        activation: of the hidden layers, the name of a Keras activation.

    Raises:
        UsageError: if a hidden layer has fewer than 2 units, or there is none.
    """
    _require_hidden("iaf", hidden)
    from vaeflow_flows.flow import FlowHead
    from vaeflow_flows.iaf import InverseAutoregressiveStep

    steps = [InverseAutoregressiveStep(latent_size, hidden, activation, number=k) for k in range(depth)]
    return FlowHead(latent_size, steps)


def maf(latent_size: int, *, depth: Depth = 2, hidden: tuple[int, ...] = (64,), activation: str = "tanh") -> Posterior:
    """Masked autoregressive flow (Papamakarios et al. 2017): the density anywhere takes one pass per step, sampling D.

    Training samples, so the posterior takes about D times as long as with `iaf`. With one
    latent dimension it is a Gaussian with more layers.

    Args:
        latent_size: D.
        depth: steps; every other one takes the latents in reverse order.
        hidden: units of each hidden layer of a step's masked network; use D or more, so that no latent is blocked.
        activation: of the hidden layers, the name of a Keras activation.

    Raises:
        UsageError: if a hidden layer has fewer than 2 units, or there is none.
    """
    _require_hidden("maf", hidden)
    from vaeflow_flows.flow import FlowHead
    from vaeflow_flows.maf import MaskedAutoregressiveStep

    steps = [MaskedAutoregressiveStep(latent_size, hidden, activation, number=k) for k in range(depth)]
    return FlowHead(latent_size, steps)


def coupling(
    latent_size: int, *, depth: Depth = 4, hidden: tuple[int, ...] = (64,), activation: str = "tanh"
) -> Posterior:
    """Affine coupling layers, RealNVP (Dinh et al. 2017): one pass per step to sample, and one for any density.

    Args:
        latent_size: D, 2 or more.
        depth: steps; the halves of the latents take turns.
        hidden: units of each hidden layer of a step's network.
        activation: of the hidden layers, the name of a Keras activation.

    Raises:
        UsageError: if there is one latent dimension only, a hidden layer has fewer than 2 units, or there is none.
    """
    if latent_size < 2:
        raise UsageError(
            f"posterior 'coupling' changes one half of the latents given the other: it needs latent_size >= 2, not "
            f"{latent_size}; try 'planar'"
        )
    _require_hidden("coupling", hidden)
    from vaeflow_flows.coupling import CouplingStep
    from vaeflow_flows.flow import FlowHead

    steps = [CouplingStep(latent_size, hidden, activation, number=k) for k in range(depth)]
    return FlowHead(latent_size, steps)


def sylvester(
    latent_size: int,
    *,
    variant: Variant = "orthogonal",
    depth: Depth = 4,
    columns: Count | None = None,
    reflections: Count | None = None,
) -> Posterior:
    """Sylvester flow, amortised (van den Berg et al. 2018): each step bends z along M directions per example.

    z' = z + Q R tanh(R~ Q^T z + b). The density is known only where it was sampled.

    Args:
        latent_size: D.
        variant: of Q. `orthogonal`: M orthonormal columns per example; `householder`: a product of reflections per
            example, M = D; `triangular`: the latents in their order and in reverse order by turns, M = D.
        depth: steps.
        columns: M of `orthogonal`, at most D; none: 8, or D if that is less.
        reflections: of each step of `householder`; none: 8.

    Raises:
        UsageError: if there are more columns than latents, or an option is not of this variant.
    """
    _require_variant(latent_size, variant, columns, reflections)
    from vaeflow_flows.flow import FlowHead
    from vaeflow_flows.sylvester import SylvesterStep

    size = (columns or min(8, latent_size)) if variant == "orthogonal" else latent_size
    bases = [_basis(latent_size, variant, size, reflections or 8, number=k) for k in range(depth)]
    return FlowHead(latent_size, [SylvesterStep(size, basis, number=k) for k, basis in enumerate(bases)])


def _basis(latent_size: int, variant: Variant, columns: int, reflections: int, *, number: int) -> BasisHead:
    """Return what computes the Q of a step."""
    from vaeflow_flows import bases

    if latent_size == 1:  # Q is 1 or -1, so there is nothing to learn
        return bases.Order(reverse=False)
    if variant == "orthogonal":
        return bases.ColumnsHead(latent_size, columns, "orthonormal")
    if variant == "householder":
        return bases.ColumnsHead(latent_size, reflections, "reflections")
    return bases.Order(reverse=number % 2 == 1)


def _require_variant(latent_size: int, variant: Variant, columns: int | None, reflections: int | None) -> None:
    for option, value, owner in (("columns", columns, "orthogonal"), ("reflections", reflections, "householder")):
        if value is not None and variant != owner:
            raise UsageError(f"posterior 'sylvester': {option} is an option of variant={owner!r}, not of {variant!r}")
    if columns is not None and columns > latent_size:
        raise UsageError(f"posterior 'sylvester': columns must be at most latent_size, {latent_size}, not {columns}")


def full_gaussian(latent_size: int) -> Posterior:
    """N(mu, C C^T) with a lower triangular C for each example: all covariances, and the mean is exact.

    The divergence from the standard normal prior has a closed form, from other priors it is estimated from the samples.

    Args:
        latent_size: D; the heads have D (D + 3) / 2 outputs.
    """
    from vaeflow_flows.full_gaussian import FullGaussianHead

    return FullGaussianHead(latent_size)


def _require_hidden(name: str, hidden: tuple[int, ...]) -> None:
    require_hidden(f"posterior {name!r}", hidden)


def require_hidden(component: str, hidden: tuple[int, ...]) -> None:
    """Refuse networks without a path between latents: some variables would get no gradient."""
    if not hidden or min(hidden) < 2:
        raise UsageError(f"{component}: hidden must be one or more layers of at least 2 units, not {hidden}")
