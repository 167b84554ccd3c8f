"""A group of commands that suggests the most similar command for an unknown one."""

from __future__ import annotations

import click

from vaeflow.errors import UsageError, nearest


class TeachingGroup(click.Group):
    """Lists commands in the order they were added, and suggests the most similar one for an unknown name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature.
        """Return the names of the commands, in the order they were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name.

        Raises:
            UsageError: if there is none.
        """
        if not args[0].startswith("-") and args[0] not in self.commands:
            raise UsageError(f"{ctx.command_path} has no command {args[0]!r}; {nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)
