"""`vaeflow plugins` and `vaeflow plugins show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vaeflow.cli.completion import complete_component, complete_kind
from vaeflow.cli.group import TeachingGroup
from vaeflow.cli.plugins_check import check
from vaeflow.cli.plugins_new import new
from vaeflow.cli.shared import examples, plugin_option

if TYPE_CHECKING:
    from vaeflow.plugins.discovery import Loaded
    from vaeflow.plugins.option import Option
    from vaeflow.plugins.registered import Registered
    from vaeflow.plugins.registry import Registry


@click.group(
    cls=TeachingGroup,
    invoke_without_command=True,
    epilog=examples(
        "vaeflow plugins",
        "vaeflow plugins show encoder conv-mnist",
        "vaeflow plugins show encoder resnet --plugin ./resnet.py",
        "vaeflow plugins check encoder resnet --plugin ./resnet.py",
        "vaeflow plugins new encoder wide-net",
    ),
)
@plugin_option
@click.pass_context
def plugins(context: click.Context, modules: tuple[str, ...]) -> None:
    """List the components by kind, and the plugins: origin, hooks, and why a plugin was not loaded.

    VAEFLOW_TRACE_PLUGINS=1 logs the search for plugins to standard error.
    """
    from vaeflow.plugins.registry import Registry

    context.obj = modules
    if context.invoked_subcommand is None:
        _list(Registry.load(modules))


@plugins.command()
@click.argument("kind", shell_complete=complete_kind)
@click.argument("name", shell_complete=complete_component)
@plugin_option
@click.pass_obj
def show(before: tuple[str, ...], kind: str, name: str, modules: tuple[str, ...]) -> None:
    """Print the options and the docstring of a component.

    KIND is a kind of component (encoder), NAME a component of that kind (conv-mnist).

    Example: vaeflow plugins show encoder conv-mnist
    """
    from vaeflow.plugins.records import KINDS
    from vaeflow.plugins.registry import Registry

    registered = Registry.load((*before, *modules)).get(kind, name)
    click.echo(f"{kind} {name}, of {registered.origin.full}")
    click.echo(f"{KINDS[kind].signature}\n\n{registered.doc}\n\n{_options(registered)}")


plugins.add_command(check)
plugins.add_command(new)


def _list(registry: Registry) -> None:
    from vaeflow.plugins.records import KINDS

    found = registry.all()
    width = max(len(registered.component.name) for registered in found)
    for kind in KINDS.values():
        click.echo(f"{kind.name}: {kind.doc}")
        for registered in found:
            if registered.component.kind == kind.name:
                click.echo(f"  {registered.component.name:<{width}}  {registered.origin}  {registered.summary}")
    click.echo("\nplugins:")
    for loaded in registry.loaded:
        click.echo(f"  {loaded.origin.full}: {_counts(loaded)} by {', '.join(loaded.hooks)}, from {loaded.file}")
    for origin in registry.disabled:
        click.echo(f"  {origin.full}: disabled by --disable-plugin")
    for broken in registry.broken:
        click.echo(f"  {broken.origin.full}: not loaded: {broken.reason}")


def _counts(loaded: Loaded) -> str:
    """Return how many components and recipes a plugin has; what it has none of is left out."""
    counts = {"component": len(loaded.components), "recipe": len(loaded.recipes)}
    listed = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items() if count]
    return " and ".join(listed) or "nothing"


def _options(registered: Registered) -> str:
    from vaeflow.plugins.tables import fields_inside

    lines = []
    for option in registered.options():
        lines.append(_line("", option))
        lines += [_line(path.removesuffix(field.name), field) for path, _, field in fields_inside(option)]
    return "\n".join(["Options:", *lines] if lines else ["No options."])


def _line(prefix: str, option: Option) -> str:
    from vaeflow.plugins.type_names import type_in_words

    return f"  {prefix}{option}  ({'required; ' if option.required else ''}{type_in_words(option.annotation)})"
