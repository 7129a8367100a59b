"""What --help looks like: commands and options in groups, what most need first."""

from typing import Any

from typer.core import TyperCommand, TyperGroup

from .guesses import answer_command

COMMANDS = {
    "Measure texts": ["predict", "score", "regions"],
    "Find what is unusual in logs": ["watch", "surprising", "kinds", "mcp"],
    "Write": ["live", "complete", "fill", "generate"],
    "Models of your own": ["train", "info"],
    "Files in fewer bytes": ["compress", "decompress"],
    "Maintenance": ["verify", "warmup"],
}
"""The groups of commands; one that is in none is listed at the end."""

OPTIONS = {
    "MeasureOptions": "",
    "ParsingOptions": "Input",
    "FollowOptions": "Input",
    "WatcherOptions": "What is unusual",
    "ReaderOptions": "What is unusual",
    "ShownOptions": "Output",
    "TargetOptions": "Output and state",
    "OutputOptions": "Output",
    "ScheduleOptions": "Training",
    "StartOptions": "Start",
    "MixtureOptions": "Mixture",
    "ModelOptions": "Model",
    "RayOptions": "With --engine ray",
    "RayWatchOptions": "With --engine ray",
}
"""The groups of options, by the records that declare them, in the order in which they are listed. "": Options."""

FRESH = "A fresh network, with --model none"
"""The group of options of a network that has learned nothing, which comes last."""


def group_of(record: str) -> str | None:
    """The group of the options that a record declares; None for the first group, Options."""
    return OPTIONS.get(record) or None


class Command(TyperCommand):
    """A command whose help lists its options in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and then each group of options."""
        sections: dict[str, list[Any]] = {name: [] for name in ("Arguments", "Options", *OPTIONS.values(), FRESH)}
        for parameter in self.get_params(ctx):
            if (row := parameter.get_help_record(ctx)) is not None:
                is_option = parameter.param_type_name == "option"
                name = getattr(parameter, "rich_help_panel", None) or "Options" if is_option else "Arguments"
                sections[name].append(row)
        for name, rows in sections.items():
            if rows:
                with formatter.section(name):
                    formatter.write_dl(rows)


class Group(TyperGroup):
    """The commands, listed in groups; a name that is not one of them is answered."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each group of commands."""
        names = self.list_commands(ctx)
        width = max(map(len, names))
        others = [name for name in names if not any(name in group for group in COMMANDS.values())]
        formatter.write("\nCommands:\n")
        for title, group in {**COMMANDS, "Others": others}.items():
            rows = [(name.ljust(width), self._short_help(ctx, name)) for name in group if name in names]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def _short_help(self, ctx: Any, name: str) -> str:
        command = self.get_command(ctx, name)
        return "" if command is None else command.get_short_help_str(80)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, or raise an error that says which one was meant."""
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            if hasattr(error, "message") and (answer := answer_command(args[0])):
                error.message = f"No such command {args[0]!r}. {answer}"
            raise
