"""The explorer: one page, opened from disk, that shows every evaluation question and what every arm made of it.

Everything in the page is data that nobody vouches for: the page's script writes text, never markup. No SQL runs here;
results are those that scoring kept. The data are packed (zlib, base64), so that 5,000 questions stay small.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from text2sql.base.files import atomic_write
from text2sql.report.failures import error_kind, why_wrong
from text2sql.scoring.policy import MATCHES
from text2sql.scoring.results import shorten
from text2sql.sql.exact_match import syntax_tree
from text2sql.sql.golds import golds_text

RAN = (*MATCHES, "mismatch")  # outcomes of predictions that have a result; the others did not get that far

# What is shown of long texts, in characters.
TEXT = 4_000  # of a generated text or of a query
CONTEXT = 12_000  # of a schema


def write_explorer(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Sequence[Mapping]],
    results: Mapping[str, Sequence[Mapping]],
    generations: Mapping[str, Sequence[Mapping]],
    judgements: Mapping[str, Sequence[Mapping]],
    pair: tuple[str, str],
    conclusion: str,
) -> None:
    """Writes the page; the same input gives the same bytes.

    rows: of the evaluation table. scores, results, generations, judgements: by arm, in the order of the rows;
    judgements may be empty. pair: the two arms, the second over the first, of which questions are won
    and lost. conclusion: what the comparison of the arms allows one to say.
    """
    arms = list(scores)
    schemas: dict[str, int] = {}  # a context is kept once, however many questions are about it
    entries = []
    for number, row in enumerate(rows):
        scored = [scores[arm][number] for arm in arms]
        kept = [results[arm][number] for arm in arms]
        entries.append(
            {
                **{key: row[key] for key in ("id", "db_id", "question", "complexity", "domain", "language")},
                "schema": schemas.setdefault(shorten(row["context"], CONTEXT), len(schemas)),
                "gold": shorten(golds_text(row), TEXT),
                "ordered": in_order(row["answer"], row["dialect"]),
                "gold_results": gold_results(scored, kept),
                "databases": 0 if scored[0]["ex"] is None else kept[0]["databases"],
                "arms": [
                    arm_entry(
                        row, score, result, generations[arm][number], judgements[arm][number] if judgements else None
                    )
                    for arm, score, result in zip(arms, scored, kept, strict=True)
                ],
            }
        )
    with atomic_write(path) as file:
        data = {"arms": arms, "pair": [arms.index(arm) for arm in pair], "rows": entries, "schemas": list(schemas)}
        file.write(page(data, pair, conclusion))


def in_order(sql: str, dialect: str | None) -> bool:
    """Whether a query's rows have an order; False where sqlglot cannot read it."""
    tree = syntax_tree(sql, dialect)
    return tree is not None and tree.args.get("order") is not None


def gold_results(scores: Sequence[Mapping], results: Sequence[Mapping]) -> dict[int, dict[str, Any]]:
    """The gold's first rows by database: on those that an arm's result is shown on, or else where it first has rows.

    scores, results: of one question, by arm. Nothing where the gold failed.
    """
    if scores[0]["ex"] is None:
        return {}
    shown = [kept for score, kept in zip(scores, results, strict=True) if score["outcome"] in RAN] or results[:1]
    return {kept["database"]: kept["gold"] for kept in sorted(shown, key=lambda kept: kept["database"])}


def arm_entry(
    row: Mapping, score: Mapping, results: Mapping, generation: Mapping, judge: Mapping | None
) -> dict[str, Any]:
    """One arm's part of a question: text, SQL (None where the text is nothing else), outcome, result, verdict.

    Of a wrong answer also `causes` (failures.why_wrong), `kind` (failures.error_kind) and, where scoring found one, a
    small database on which the answers differ, `witness`: {tables: {name: {columns, rows}}, gold, prediction: rows}.
    """
    text, sql, causes = generation["text"], score["sql"], why_wrong(row, score)
    return {
        "outcome": score["outcome"],
        "ex": score["ex"],
        "error": score["error"],
        "causes": causes,
        "kind": error_kind(score) if causes else None,
        "harsh": score["ex"] is True and score["ex_harsh"] is False,
        "failed": score["failed"],
        "agreed": None if score.get("agreed") is None else [score["agreed"], score["samples"]],
        "text": None if text == sql else shorten(text, TEXT),
        "finish_reason": generation["finish_reason"],
        "sql": None if sql is None else shorten(sql, TEXT),
        "result": {"database": results["database"], **results["prediction"]} if score["outcome"] in RAN else None,
        "witness": results.get("witness"),
        "judge": judge and {"verdict": judge["verdict"], "reason": judge["reason"] or judge["error"]},
    }


def page(data: Mapping[str, Any], pair: tuple[str, str], conclusion: str) -> str:
    """The page with its data in it. The browser runs and styles with nothing but what stands here, and fetches nothing.

    Its content security policy names script and style by their digests.
    """
    environment = Environment(loader=PackageLoader(__name__, "."), autoescape=True)
    parts = {name: (Path(__file__).parent / f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    digests = {name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for name, text in parts.items()}
    packed = zlib.compress(json.dumps(data, separators=(",", ":"), allow_nan=False).encode(), 9)
    return environment.get_template("page.html").render(
        **parts,
        digests=digests,
        arms=data["arms"],
        pair=pair,
        conclusion=conclusion,
        data=base64.b64encode(packed).decode(),
    )
