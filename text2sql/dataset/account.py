"""What happened to the data, in numbers: from the source's rows to the rows selected, by split and by label.

`account` reads what the data stages wrote and gives the content of metrics/data.json.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from text2sql.base.files import read_json
from text2sql.dataset.rows import read_batches
from text2sql.dataset.verdict import RULES

LABELS = ("domain", "complexity", "language")
STEPS = ("read", *RULES, "leaked", "train", "eval")


def account(folder: Path = Path("data")) -> dict:
    """The account of the data in `folder` (the stages' outputs).

    `source`: for train and test, what the source `left_out` before the rows were read and what was `changed`, by
    reason; `read`: as they came, the rows left after each rule; `gold_errors`: the test rows that fail and were kept,
    by class of error; `golds`: of rows with several golds, how many of these were `read` and `kept`; `selected`: for
    train and eval the rows left after each step of `select`; `split`: how the two were told apart; `rejects`: by rule
    and class of error;
    `domain`, `complexity`, `language`: for each value its rows at each of STEPS (read, left after each rule, removed as
    leaks, trained on, evaluated with); `databases`, `leaks`, `duplicates`, `notes`: as in selection.json. Raises
    UserError when a stage has not run.
    """
    funnel, selection = read_json(folder / "funnel.json"), read_json(folder / "selection.json")
    source = read_json(folder / "raw/account.json")
    rejects: dict[str, Counter[str]] = {rule: Counter() for rule in RULES}
    for split in funnel.values():
        for rule, classes in split["rejects"].items():
            rejects[rule].update(classes)
    return {
        "source": source,
        "read": {split: {step: steps[step] for step in ("read", *RULES)} for split, steps in funnel.items()},
        "gold_errors": funnel["test"].get("gold_errors", {}),
        "golds": {split: steps.get("golds", {}) for split, steps in funnel.items()},
        "selected": {split: selection[split] for split in ("train", "eval")},
        "split": selection["split"],
        "rejects": {rule: dict(classes.most_common()) for rule, classes in rejects.items() if classes},
        **{label: funnel_by(folder, label, selection["leaked_by"][label]) for label in LABELS},
        **{key: selection[key] for key in ("databases", "leaks", "duplicates", "notes")},
    }


def funnel_by(folder: Path, label: str, leaked: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """For each value of a label (`none` where a row has none) its rows at each of STEPS, most frequent first."""
    left = count(folder / "raw/train.parquet", label) + count(folder / "raw/test.parquet", label)
    rejected = count(folder / "rejected.parquet", label, "rule")
    steps: dict[str, Mapping[str, int]] = {"read": left}
    for rule in RULES:
        left = left - Counter({value: rows for (value, broken), rows in rejected.items() if broken == rule})
        steps[rule] = left
    steps["leaked"] = leaked
    for split in ("train", "eval"):
        steps[split] = count(folder / f"selected/{split}.parquet", label)
    values = sorted(steps["read"], key=lambda value: (-steps["read"][value], value))
    return {value: {step: steps[step].get(value, 0) for step in STEPS} for value in values}


def count(path: Path, *columns: str) -> Counter:
    """How many rows of a table have each value of a column, or each combination of several; null counts as `none`."""
    found: Counter = Counter()
    for batch in read_batches(path, columns):
        cells = [[value or "none" for value in batch.column(name).to_pylist()] for name in columns]
        found.update(cells[0] if len(cells) == 1 else zip(*cells, strict=True))
    return found


def find_rejects(folder: Path, reason: str, limit: int) -> tuple[int, list[dict]]:
    """How many rejects have this reason (a rule or a class of error) and the first `limit` of them."""
    found: list[dict] = []
    total = 0
    for batch in read_batches(folder / "rejected.parquet"):
        for row in batch.to_pylist():
            if reason in (row["rule"], row["error_class"]):
                total += 1
                if len(found) < limit:
                    found.append(row)
    return total, found
