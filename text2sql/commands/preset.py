"""Take a whole recipe: print it as flags for `dvc exp run`, or write it into params.yaml.

python -m text2sql preset                                             list the presets
dvc exp run $(python -m text2sql preset smoke)                        run one as an experiment
dvc exp run $(python -m text2sql preset file qwen2.5-coder-1.5b) -S ingest.path=inputs/questions.jsonl
python -m text2sql preset file --write                                make it params.yaml's own, for `dvc repro`

Presets are the files in presets/; their first lines say what they are for and what they need. Whatever a preset does
not name has its default, which stands in presets/quickstart.yaml; of several presets each overrides those before it.
The flags are those that turn the present params.yaml into the recipe. Flags with blanks or quotes come quoted, for a
shell that reads them once more: eval "dvc exp run $(python -m text2sql preset phi2-gretel)".
"""

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dvc.utils.hydra import to_hydra_overrides
from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import OverrideParseException

from text2sql.base.errors import UserError
from text2sql.base.files import atomic_write
from text2sql.base.params import PATH, check, read_yaml

FOLDER = Path("presets")
DEFAULTS = "quickstart"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="presets, the later one wins (default: list them)")
    parser.add_argument("--write", action="store_true", help="write the recipe into params.yaml; comments stay")


def run(args: argparse.Namespace) -> int:
    if not args.names:
        for path in presets():
            print(f"{path.stem:<18} {path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")
        return 0
    wanted, present = recipe(args.names), read_yaml(PATH)
    if not isinstance(present, dict):
        raise UserError(f"{PATH}: holds no parameters; restore the file (`git checkout {PATH}`)")
    changes = list(differences(present, wanted))
    if args.write:
        write(changes)
        return 0
    flags = [flag(change) for change in changes] or [f"preset={'+'.join(args.names)}"]
    print(*(f"-S {quoted(text)}" for text in flags))
    if any(quoted(text) != text for text in flags) and not sys.stdout.isatty():
        print(f'note: some flags are quoted, so run: eval "dvc exp run $({call(args.names)})"', file=sys.stderr)
    return 0


def call(names: Sequence[str]) -> str:
    """The command line that prints the flags of these presets."""
    return shlex.join(["python", "-m", "text2sql", "preset", *names])


def presets() -> list[Path]:
    """The files of all presets, by name. Raises UserError where there are none."""
    if not (found := sorted(FOLDER.glob("*.yaml"), key=lambda path: path.stem)):
        raise UserError(f"{FOLDER}: no presets there; run from the project's folder")
    return found


def recipe(names: Sequence[str]) -> dict[str, Any]:
    """All of params.yaml's values as the presets have them: the defaults, overridden by each preset in turn.

    Raises UserError for a preset that does not exist, is not a part of params.yaml, or has a key or value that it
    does not take.
    """
    values: dict[str, Any] = read_preset(DEFAULTS)
    for name in names:
        values = overlaid(values, read_preset(name))
        check(values, FOLDER / f"{name}.yaml")
    return values | {"preset": "+".join(names)}


def read_preset(name: str) -> dict[str, Any]:
    """The preset's own keys and values. Raises UserError for a name that does not exist and for an empty preset."""
    path = FOLDER / f"{name}.yaml"
    if path not in presets():
        raise UserError(f"no preset {name}; there are {', '.join(other.stem for other in presets())}")
    preset = read_yaml(path)
    if not isinstance(preset, dict):
        raise UserError(f"{path}: holds no keys; a preset is a part of params.yaml")
    return preset


def overlaid(values: dict, over: dict) -> dict:
    """`values` with those of `over` in their place, section by section."""
    return values | {
        key: overlaid(values[key], value) if isinstance(value, dict) and isinstance(values.get(key), dict) else value
        for key, value in over.items()
    }


class Change(NamedTuple):
    """One key that differs: where it stands, whether it is added (+), removed (~) or changed (""), and its value."""

    sign: str
    keys: tuple[str, ...]
    value: Any


def differences(present: dict, wanted: dict, under: tuple[str, ...] = ()) -> Iterator[Change]:
    """What turns `present` into `wanted`, key by key."""
    for key in present.keys() - wanted.keys():
        yield Change("~", (*under, key), None)
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(present.get(key), dict):
            yield from differences(present[key], value, (*under, key))
        elif key not in present:
            yield Change("+", (*under, key), value)
        elif present[key] != value or type(present[key]) is not type(value):
            yield Change("", (*under, key), value)


def flag(change: Change) -> str:
    """A change in the grammar of `dvc exp run -S`. Raises UserError for what this grammar has no form for."""
    name = ".".join(change.keys)
    if not all(re.fullmatch(r"[A-Za-z_][\w-]*", key, re.ASCII) for key in change.keys):
        raise UserError(f"{name}: a key that holds other than letters and digits cannot be a flag; use --write")
    if "${" in json.dumps(change.value):
        raise UserError(f"{name}: a value that holds ${{ cannot be a flag; use --write")
    return f"~{name}" if change.sign == "~" else f"{change.sign}{name}={in_grammar(change.value)}"


def in_grammar(value: Any) -> str:
    """A value as Hydra's override grammar reads it, with quotes only where a text would become something else."""
    if isinstance(value, list):
        return f"[{','.join(map(in_grammar, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{in_grammar(key)}:{in_grammar(item)}' for key, item in value.items())}}}"
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        (parsed,) = to_hydra_overrides([f"key=[{value}]"])
        if parsed.value() == [value]:
            return value
    except OverrideParseException:
        pass
    return QuotedString(value, Quote.double).with_quotes()


def quoted(text: str) -> str:
    """A flag that the shell passes on as it is, after reading it once more; brackets alone need no quotes."""
    return text if re.fullmatch(r"[\w@%+=:,./\[\]{}~-]*", text) else shlex.quote(text)


def write(changes: Sequence[Change]) -> None:
    """Makes the changes in params.yaml, in the form in which DVC writes it; everything else stays, comments too."""
    document = parse_yaml_for_update(PATH.read_text(encoding="utf-8"), str(PATH))
    for sign, (*sections, key), value in changes:
        place = document
        for section in sections:
            place = place[section]
        if sign == "~":
            del place[key]
        else:
            place[key] = spelled(value)
    with atomic_write(PATH) as file:
        file.write(dumps_yaml(document))


def spelled(value: Any) -> Any:
    """A small number with a dot before its exponent, without which other readers (YAML 1.1) take it for text."""
    if isinstance(value, float) and "." not in repr(value):
        return parse_yaml_for_update(repr(value).replace("e", ".0e"), str(PATH))
    return value
