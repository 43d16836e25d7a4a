"""The list of commands in `netemu --help`, in sections, in the order in which one needs them."""

from __future__ import annotations

import click


class Sections(click.Group):
    """A group whose commands belong to sections."""

    def __init__(self, *arguments: object, **more: object) -> None:
        super().__init__(*arguments, **more)  # type: ignore[arg-type]
        self.sections: dict[str, list[str]] = {}

    def add_section(self, title: str, *commands: click.Command) -> None:
        """Add commands, and the section that lists them."""
        self.sections[title] = [str(command.name) for command in commands]
        for command in commands:
            self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click calls it so
        """The commands' names, in the sections' order."""
        return [name for names in self.sections.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list for each section, all of one width."""
        width = max(len(name) for name in self.list_commands(ctx))
        for title, names in self.sections.items():
            with formatter.section(title):
                room = formatter.width - 6 - width
                formatter.write_dl(
                    [(f"{name:<{width}}", self.commands[name].get_short_help_str(room)) for name in names]
                )
