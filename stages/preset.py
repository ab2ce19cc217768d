"""Takes a whole recipe: prints a preset as `-S` flags for `dvc exp run`, or writes it into params.yaml.

Presets are the partial params files in presets/; their first lines say what they are for.

example:
  python stages/preset.py                                         list them
  dvc exp run $(python stages/preset.py smoke)                    run one as an experiment
  python stages/preset.py file --write                            make it params.yaml's own (comments stay)
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from text2sql.base.errors import UserError, reports_user_errors
from text2sql.base.files import atomic_write
from text2sql.base.params import PATH, check, read_yaml

FOLDER = Path(__file__).parent / "presets"


@reports_user_errors
def main() -> None:
    text, mark, examples = (__doc__ or "").partition("example:")
    parser = argparse.ArgumentParser(
        description=text, epilog=mark + examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", help="a preset; none: list them")
    parser.add_argument("--write", action="store_true", help="write it into params.yaml")
    args = parser.parse_args()
    if args.name is None:
        for path in sorted(FOLDER.glob("*.yaml"), key=lambda path: path.stem):
            print(f"{path.stem:<18} {path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")
        return
    preset = read_preset(args.name)
    merged = overlay(read_yaml(PATH), preset, args.name)
    check(merged, FOLDER / f"{args.name}.yaml")
    if args.write:
        write(preset)
    else:
        print(*flags(preset))


def read_preset(name: str) -> dict[str, Any]:
    """The preset's own keys and values. Raises UserError for a name that does not exist and for an empty preset."""
    path = FOLDER / f"{name}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(other.stem for other in FOLDER.glob("*.yaml")))
        raise UserError(f"no preset {name}; there are {there}")
    preset = read_yaml(path)
    if not isinstance(preset, dict):
        raise UserError(f"{path}: holds no keys; a preset is a part of params.yaml")
    return preset


def overlay(values: dict, preset: dict, name: str, under: str = "") -> dict:
    """`values` with the preset's in their place. Raises UserError for a key that `values` does not have."""
    merged = dict(values)
    for key, value in preset.items():
        if key not in values:
            raise UserError(f"{FOLDER.name}/{name}.yaml, {under}{key}: params.yaml has no such key; mend its spelling")
        nested = isinstance(value, dict) and isinstance(values[key], dict) and values[key]
        merged[key] = overlay(values[key], value, name, f"{under}{key}.") if nested else value
    return merged


def flags(preset: dict, under: str = "") -> Iterator[str]:
    """The preset as arguments of `dvc exp run`, which the shell passes on without quoting."""
    for key, value in preset.items():
        if isinstance(value, dict) and value:
            yield from flags(value, f"{under}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
            if any(character.isspace() for character in text):
                raise UserError(f"{under}{key}: a value with white space cannot be a flag; use --write")
            yield f"-S {under}{key}={text}"


def write(preset: dict) -> None:
    """Sets the preset's keys in params.yaml and leaves everything else, comments too, as it is."""
    from ruamel.yaml import YAML

    document = YAML()
    document.preserve_quotes = True
    document.width = 120
    represent = document.representer.add_representer
    represent(type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null"))
    represent(float, lambda representer, value: representer.represent_scalar("tag:yaml.org,2002:float", number(value)))
    values = document.load(PATH.read_text(encoding="utf-8"))
    update(values, preset)
    with atomic_write(PATH) as file:
        document.dump(values, file)


def number(value: float) -> str:
    """A number with a dot before its exponent, without which PyYAML reads it as text."""
    text = repr(value)
    return text if "." in text else text.replace("e", ".0e")


def update(values: dict, preset: dict) -> None:
    """Sets nested keys in place; an equal value keeps its spelling."""
    for key, value in preset.items():
        if isinstance(value, dict) and values.get(key):
            update(values[key], value)
        elif values.get(key) != value:
            values[key] = value


if __name__ == "__main__":
    sys.exit(main())
