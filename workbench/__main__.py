"""The command line: ``workbench`` or ``python -m workbench``."""

import argparse
import importlib
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

from workbench import __version__
from workbench.errors import WorkbenchError
from workbench.escaping import escaped_lines


def main(arguments: list[str] | None = None) -> int:
    """Run one command: 0 done, 1 failed, 2 refused, 130 interrupted, 138 a kernel died, 141 the reader left."""
    try:
        given = vars(build_parser().parse_args(arguments))
        module, _, name = given.pop("function").partition(":")
        # Everything heavy is imported by the command that needs it, so that help is instant.
        status = getattr(importlib.import_module(f"workbench.runs.{module}"), name)(**given) or 0
        print(end="", flush=True)
        return status
    except WorkbenchError as error:
        print(f"error: {escaped_lines(str(error))}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt:
        print("\ninterrupted: run the same command again to continue", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno is None:
            raise
        if error.filename is None and sys.stdout is not None:
            # It is the output that cannot be written; without this the interpreter complains once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141  # the reader (head, less) has seen enough
        from workbench.file_errors import system_error

        told = system_error(error, "the output of this command, or a temporary file", "used")
        print(f"error: {escaped_lines(str(told))}", file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands, as ``commands.toml`` declares them."""
    declared = tomllib.loads(Path(__file__).with_name("commands.toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(
        prog="workbench",
        description="DiffAugment for long-tailed visual relationship recognition, from images to a report.",
        epilog=declared["examples"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"workbench {__version__}")
    groups = {"": parser.add_subparsers(metavar="COMMAND", required=True)}
    for name, command in declared["commands"].items():
        group, _, last = name.rpartition(" ")
        if group not in groups:
            within = groups[""].add_parser(group, help=declared["groups"][group])
            groups[group] = within.add_subparsers(metavar="COMMAND", required=True)
        summary = command["help"]
        made = groups[group].add_parser(last, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        made.set_defaults(function=command["function"])
        options = [*(declared["shared"][key] for key in command.get("with", ())), command.get("options", {})]
        _add_options(made, {key: how for each in options for key, how in each.items()})
    return parser


def _add_options(parser: argparse.ArgumentParser, options: dict[str, dict[str, Any]]) -> None:
    kinds = {"int": int, "float": float, "path": _absolute, "folder": _folder}
    exclusive: dict[str, Any] = {}
    for name, how in options.items():
        given = {key: value for key, value in how.items() if key not in ("group", "flag", "type")}
        given |= {"action": "store_true"} if "flag" in how else {}
        given |= {"type": kinds[how["type"]]} if "type" in how else {}
        if "group" in how and how["group"] not in exclusive:
            exclusive[how["group"]] = parser.add_mutually_exclusive_group()
        exclusive.get(how.get("group", ""), parser).add_argument(name, **given)


def _folder(text: str) -> Path:
    folder = _absolute(text)
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{folder}: there is no such folder")
    return folder


def _absolute(text: str) -> Path:
    given = Path(text).expanduser()
    if given.is_dir() or given.name in ("", ".."):
        return given.resolve()
    return given.parent.resolve() / given.name  # not what a link leads to: in a cache or a store that has another name


if __name__ == "__main__":
    sys.exit(main())
