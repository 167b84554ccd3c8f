"""`vaeflow plugins check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaeflow.cli.completion import complete_component, complete_kind
from vaeflow.cli.shared import examples, plugin_option
from vaeflow.errors import PluginError, UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.plugin_kit.checks.rule import Result
    from vaeflow.plugin_kit.checks.subject import Subject
    from vaeflow.plugins.recipes import Recipe
    from vaeflow.plugins.registered import Registered
    from vaeflow.plugins.registry import Registry


def _x_shape(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(side) for side in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise click.BadParameter(f"{text!r} is not a shape, such as 28,28,1")
    return shape


@click.command(
    epilog=examples(
        "vaeflow plugins check encoder resnet --plugin ./resnet.py",
        "vaeflow plugins check encoder conv-mnist width=16 --x-shape 28,28,1",
        "vaeflow plugins check prior my-prior --with posterior=full-gaussian",
        "vaeflow plugins check callback early-stopping metric=test/squared-error --with metric=squared-error",
        "vaeflow plugins check --of vaeflow-flows",
    )
)
@click.argument("kind", required=False, shell_complete=complete_kind)
@click.argument("name", required=False, shell_complete=complete_component)
@click.argument("options", nargs=-1, metavar="[OPTION=VALUE]...")
@click.option(
    "--of",
    "owner",
    metavar="NAME",
    help="Check all components and recipes of this distribution or file. Example: --of vaeflow-flows",
)
@click.option(
    "--rule", "rules", metavar="RULE", multiple=True, help="Run only this rule. May be repeated. Example: --rule bits"
)
@click.option(
    "--with",
    "partners",
    metavar="KIND=NAME",
    multiple=True,
    help="Component of another kind to check it with. May be repeated. Example: --with prior=my-prior",
)
@click.option("--x-shape", default="8,8,1", show_default=True, callback=_x_shape, help="Shape of an example.")
@click.option("--latent-size", type=click.IntRange(min=1), default=2, show_default=True, help="Latent size D.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@plugin_option
@click.pass_obj
def check(
    before: tuple[str, ...],
    *,
    kind: str | None,
    name: str | None,
    options: tuple[str, ...],
    owner: str | None,
    rules: tuple[str, ...],
    partners: tuple[str, ...],
    x_shape: tuple[int, ...],
    latent_size: int,
    as_json: bool,
    modules: tuple[str, ...],
) -> None:
    """Check a component against the contract of its kind, rule by rule.

    KIND and NAME select the component; its options are given as in a config. The component is run in a small model on
    small data, with one and two replicas on this machine's CPU. A broken rule is reported with the tensor and the
    numbers, and the exit code is 2.
    """
    from vaeflow.config.sources import parse_overrides
    from vaeflow.plugins.registry import Registry

    registry = Registry.load((*before, *modules))
    chosen = _chosen(registry, kind, name, owner)
    others = _partners(registry, partners, {one[0] for one in chosen})
    _require_rules(chosen, rules)
    given = parse_overrides(options)
    for one in chosen:
        registry.get(*one).bind(given, one[0])
    broken = [] if rules else list(_check_recipes(registry, owner, as_json=as_json))
    if chosen:
        _start()
        from vaeflow.plugin_kit.checks.forks import Forks
        from vaeflow.plugin_kit.checks.subject import Subject

        with Forks() as forks:
            subjects = [Subject(registry, *one, given, x_shape, latent_size, others, forks) for one in chosen]
            broken += [line for subject in subjects for line in _check(subject, rules, as_json=as_json)]
    if broken:
        raise PluginError(f"{broken[0]}{f'; and {len(broken) - 1} more' if broken[1:] else ''}")


def _chosen(registry: Registry, kind: str | None, name: str | None, owner: str | None) -> list[tuple[str, str]]:
    """Return (kind, name) of the components to check."""
    if (kind is None) != (name is None) or (kind is None) == (owner is None):
        raise UsageError("no component is given: use KIND and NAME, or --of DISTRIBUTION")
    if kind is not None and name is not None:
        registry.get(kind, name)
        return [(kind, name)]
    of_it = [one for one in registry.all() if _is_of(one, owner)]
    if not of_it:
        if _recipes_of(registry, owner):
            return []
        origins = [one.origin for one in registry.all()] + [one.origin for one in registry.recipes()]
        names = {origin.distribution or origin.module for origin in origins}
        raise UsageError(f"--of: {owner!r} has no components; {nearest(str(owner), names)}")
    incomplete = [one for one in of_it if any(option.required for option in one.options())]
    for one in incomplete:
        needs = ", ".join(option.name for option in one.options() if option.required)
        name_of_it = f"{one.component.kind} {one.component.name}"
        click.echo(
            f"skipped: {one.label} has required options: {needs}; run vaeflow plugins check {name_of_it} ...", err=True
        )
    if len(incomplete) == len(of_it) and not _recipes_of(registry, owner):
        raise UsageError(f"--of: every component of {owner!r} has required options; check them one by one")
    return [(one.component.kind, one.component.name) for one in of_it if one not in incomplete]


def _is_of(one: Registered | Recipe, owner: str | None) -> bool:
    """Return whether a component or recipe belongs to the distribution, module or file that --of names."""
    wanted = str(Path(owner).resolve()) if owner and owner.endswith(".py") else owner
    return wanted in (one.origin.distribution or one.origin.module, one.origin.module)


def _recipes_of(registry: Registry, owner: str | None) -> list[Recipe]:
    return [one for one in registry.recipes() if _is_of(one, owner)]


def _partners(registry: Registry, texts: tuple[str, ...], kinds: set[str]) -> dict[str, str]:
    """Return the names of --with by their kinds."""
    from vaeflow.config.schema import KINDS_OF_SELECTIONS

    partners = {}
    for text in texts:
        kind, equals, name = text.partition("=")
        if not equals:
            raise UsageError(f"--with: {text!r} is not KIND=NAME, such as prior=standard-normal")
        possible = {*KINDS_OF_SELECTIONS.values(), "metric"} - {"dataset", "strategy"}
        if kind not in possible:
            raise UsageError(f"--with: kind {kind!r} can't be combined with a component; {nearest(kind, possible)}")
        if kind in kinds:
            raise UsageError(f"--with: {text}: the {kind} is the component under check")
        registry.get(kind, name).bind({}, kind)
        partners[kind] = name
    return partners


def _require_rules(chosen: list[tuple[str, str]], rules: tuple[str, ...]) -> None:
    if rules:
        from vaeflow.runtime.tensorflow_setup import start_tensorflow

        start_tensorflow()
        from vaeflow.plugin_kit.checks.rules_by_kind import RULES

        known = {rule.name for kind, _ in chosen for rule in RULES[kind]}
        for rule in rules:
            if rule not in known:
                raise UsageError(f"--rule: unknown rule {rule!r}; {nearest(rule, known)}")


def _start() -> None:
    """Start TensorFlow with two logical CPUs and one thread per operation."""
    from vaeflow.runtime.tensorflow_setup import Runtime, start_tensorflow

    start_tensorflow(Runtime(threads=1))
    from vaeflow.distributed.strategies.mirrored import make_logical_cpus

    make_logical_cpus(2)


def _check(subject: Subject, rules: tuple[str, ...], *, as_json: bool) -> Iterator[str]:
    """Print each result, and yield a line for each broken rule."""
    from vaeflow.plugin_kit.checks.rules_by_kind import check, rules_of

    count = len(rules_of(subject.kind, rules))
    if not as_json:
        click.echo(subject.label)
    for result in check(subject, rules):
        found = {"kind": subject.kind, "name": subject.name, "origin": str(subject.bound.registered.origin)}
        click.echo(_as_json(found, result, count) if as_json else _for_people(result))
        if result.outcome == "broken":
            yield f"{subject.label} breaks the rule {result.rule!r}: {result.message}"


def _check_recipes(registry: Registry, owner: str | None, *, as_json: bool) -> Iterator[str]:
    """Print each result of the recipes of --of, and yield a line for each broken rule."""
    from vaeflow.plugin_kit.checks.recipes import check_recipe

    for recipe in _recipes_of(registry, owner):
        label = f"recipe {recipe.name!r} of {recipe.origin.full}"
        results = list(check_recipe(recipe, registry))
        if not as_json:
            click.echo(label)
        for result in results:
            found = {"kind": "recipe", "name": recipe.name, "origin": str(recipe.origin)}
            click.echo(_as_json(found, result, len(results)) if as_json else _for_people(result))
            if result.outcome == "broken":
                yield f"{label} breaks the rule {result.rule!r}: {result.message}"


def _for_people(result: Result) -> str:
    mark = result.outcome.upper() if result.outcome == "broken" else result.outcome
    return f"  {mark:<8}  {result.rule:<12}  {result.message}".rstrip()


def _as_json(found: dict[str, str], result: Result, count: int) -> str:
    of_rule = {"rule": result.rule, "of": count, "outcome": result.outcome, "message": result.message}
    return json.dumps({**found, **of_rule})
