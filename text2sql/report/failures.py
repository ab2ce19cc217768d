"""Why an arm's answers are wrong: each failure with its causes, and their numbers by cause, by error, by complexity."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from text2sql.base.files import atomic_write
from text2sql.sql.causes import CAUSES, UNPARSED, causes
from text2sql.sql.golds import golds_in, golds_text

# Names and values in an engine's message, which would make every error one of its own.
NAMED = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|`[^`]*`|\[[^\]]*\]|(?<=[a-z]: )\S+$|\b[\w.]+(?=\(\))|\b\d+(?:\.\d+)?\b""")
COLUMNS = (
    "id", "db_id", "complexity", "domain", "language", "outcome", "error", "cause", "causes", "question", "gold", "sql",
)  # fmt: skip


class Group(NamedTuple):
    """Failures that have something in common: how many there are, of how many questions with it, and one of them."""

    name: str
    failures: int
    also: int  # of by_cause: how many more have this cause beside a greater one
    questions: int  # of by_complexity: with a verdict, right or wrong
    example: str  # an id


def why_wrong(row: Mapping[str, Any], score: Mapping[str, Any]) -> list[str]:
    """The causes of a wrong answer, that which it is counted under first; none where it is right or has no verdict.

    A query that ran differs from the gold by `sql.causes`, of several golds from the one with the fewest causes. Of one
    that did not, its outcome is the first cause; the differences, where it can be read, say what led there.
    """
    if score["ex"] is not False:
        return []
    golds = () if score["sql"] is None else golds_in(row)
    found = min((causes(gold, score["sql"], row["dialect"]) for gold in golds), key=_distance, default=[])
    if score["outcome"] == "mismatch":
        return found
    return [outcome_words(score["outcome"]), *(cause for cause in found if cause in CAUSES)]


def _distance(found: Sequence[str]) -> int:
    """How many causes there are; more than there can be where a query could not be read."""
    return len(CAUSES) + 1 if UNPARSED in found else sum(cause in CAUSES for cause in found)


def outcome_words(outcome: str) -> str:
    """An outcome as a reader says it."""
    return outcome.replace("_", " ").replace("sql", "SQL")


def error_kind(score: Mapping[str, Any]) -> str:
    """A wrong answer's outcome, with its error where there is one, names and numbers in it left out."""
    words, error = outcome_words(score["outcome"]), score["error"]
    if not error:
        return words
    return f"{words}: {NAMED.sub('…', error.strip().splitlines()[0])}"


def failures(rows: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The wrong answers of an arm, with all of COLUMNS and `kind`, in the order of the rows. scores: in the same."""
    found = []
    for row, score in zip(rows, scores, strict=True):
        if reasons := why_wrong(row, score):
            labels = {key: row[key] for key in ("id", "db_id", "complexity", "domain", "language", "question")}
            said = {key: score[key] for key in ("outcome", "error", "sql")}
            why = {"cause": reasons[0], "causes": reasons, "kind": error_kind(score)}
            found.append({**labels, **said, **why, "gold": golds_text(row)})
    return found


def by_cause(failed: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Failures under the first of their causes, so that they add up."""
    among = Counter(cause for failure in failed for cause in failure["causes"])
    groups = _grouped(failed, lambda failure: failure["cause"])
    return [group._replace(also=among[group.name] - group.failures) for group in groups]


def by_error(failed: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Failures by outcome and error text."""
    return _grouped(failed, lambda failure: failure["kind"])


def by_complexity(
    failed: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Any]]
) -> list[Group]:
    """Failures by complexity, each with the number of questions that have it and a verdict."""
    asked = Counter(
        row["complexity"] or "none" for row, score in zip(rows, scores, strict=True) if score["ex"] is not None
    )
    groups = _grouped(failed, lambda failure: failure["complexity"] or "none")
    return [group._replace(questions=asked[group.name]) for group in groups]


def _grouped(failed: Sequence[Mapping[str, Any]], name: Callable[[Mapping[str, Any]], str]) -> list[Group]:
    counts: Counter[str] = Counter()
    example: dict[str, str] = {}
    for failure in failed:
        counts[name(failure)] += 1
        example.setdefault(name(failure), failure["id"])
    return [Group(group, count, 0, 0, example[group]) for group, count in counts.most_common()]


def write_csv(path: Path, failed: Sequence[Mapping[str, Any]]) -> None:
    """The failures as CSV with a header, atomically; what a spreadsheet would take for a formula gets a quote."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for failure in failed:
            row = {**failure, "causes": ", ".join(failure["causes"])}
            writer.writerow([_cell(row[column]) for column in COLUMNS])


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value
