"""What follows from the list of arms in params.yaml: which are trained, and which one the headline is about.

An arm is a way of answering: a model and the number of examples in its prompt (docs/arms.md). Its name is its name in
files, in `dvc exp show` and on screens.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

Kind = Literal["untrained", "trained", "reference"]
BASE_MODEL, ADAPTER = "models/base", "models/finetuned"
MERGED, EXPORTS = "publish/merged", Path("exports")  # what `merge` and `export` make of the adapter
MADE_OF = {"merge": Path("publish/merged.json"), "export": EXPORTS / "export.json"}  # which one, recorded by a command


class Arm(Protocol):
    """An arm of params.yaml, as far as its kind goes."""

    @property
    def model(self) -> str: ...

    @property
    def shots(self) -> int: ...

    @property
    def samples(self) -> int: ...

    @property
    def same_as(self) -> str | None: ...


def kind(model: str) -> Kind:
    """What stands behind an arm: the base model as it is; something made by fine-tuning it, the adapter or a form of
    it (merged, exported); or a server's model, which fine-tuning has nothing to do with."""
    if model == BASE_MODEL:
        return "untrained"
    return "reference" if Path(model).suffix == ".yaml" else "trained"


def kinds(arms: Mapping[str, Arm]) -> dict[str, Kind]:
    """The kind of each arm, in the order of the list."""
    return {name: kind(arm.model) for name, arm in arms.items()}


def of_kind(kinds: Mapping[str, Kind], wanted: Kind) -> list[str]:
    """The names of the arms of one kind. The first trained one is the headline's, whatever the others bring."""
    return [name for name, kind in kinds.items() if kind == wanted]


def forms(arms: Mapping[str, Arm]) -> dict[str, str]:
    """The arms that should answer as another does, each with that other.

    A form of the fine-tuned model (merged, exported) should answer as the adapter's first arm with as many examples
    and samples, any other arm, such as a server's, as the one that its `same_as` names.
    """
    adapter: dict[tuple[int, int], str] = {}
    for name, arm in arms.items():
        if arm.model == ADAPTER:
            adapter.setdefault((arm.shots, arm.samples), name)
    found = {}
    for name, arm in arms.items():
        form = adapter.get((arm.shots, arm.samples)) if kind(arm.model) == "trained" and arm.model != ADAPTER else None
        if other := arm.same_as or form:
            found[name] = other
    return found
