"""`python -m text2sql COMMAND`, or `text2sql COMMAND`: a module of `text2sql/commands/` each, imported when named."""

import argparse
import ast
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

from text2sql import commands
from text2sql.base.errors import UserError, reports_user_errors


def available() -> dict[str, str]:
    """Command name to its one-line help: the first line of the module's docstring, read without importing it."""
    found = {}
    for path in sorted(Path(commands.__path__[0]).glob("[!_]*.py")):
        documentation = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem.replace("_", "-")] = documentation.partition("\n")[0]
    return found


@reports_user_errors
def console() -> int:
    """The installed command `text2sql`, which is the code of one checkout.

    Raises UserError in another checkout's folder, whose own code would be passed over; `python -m` takes that.
    """
    there = Path("text2sql/cli.py")
    if there.is_file() and not there.samefile(__file__):
        raise UserError(
            f"this folder's library is not the installed one ({Path(__file__).parent}); run `python -m text2sql` here,"
            " or install this checkout (pip install -e . -c constraints.txt)"
        )
    return main()


@reports_user_errors
def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    found = available()
    overview = argparse.ArgumentParser(
        prog="python -m text2sql",
        description="Work with the pipeline's results and engines.",
        epilog="\n".join(f"  {name:<12} {line}" for name, line in found.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    overview.add_argument("command", choices=found, metavar="COMMAND")
    name = overview.parse_args(arguments[:1]).command
    module = importlib.import_module(f"text2sql.commands.{name.replace('-', '_')}")
    return module.run(make_parser(name, module).parse_args(arguments[1:]))


def make_parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    """A command's own parser: its docstring is the help, whose example calls stand at the end, behind the options."""
    documentation = module.__doc__ or ""
    examples = re.findall(rf"^ *((?:\w+=\S+ )?python -m text2sql {name}\b.*)\n?", documentation, re.MULTILINE)
    text = re.sub(rf"^ *(?:\w+=\S+ )?python -m text2sql {name}\b.*\n?", "", documentation, flags=re.MULTILINE)
    parser = argparse.ArgumentParser(
        prog=f"python -m text2sql {name}",
        description=re.sub(r"\n{3,}", "\n\n", text).strip(),
        epilog="\n".join(["example:", *(f"  {example}" for example in examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(parser)
    return parser
