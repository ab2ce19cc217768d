"""How many planted errors does the gold audit find, and how many golds does it suspect that nobody touched?

    python benchmarks/audit.py --spider ../shared/data/spider
    python benchmarks/audit.py --spider ../shared/data/spider --every 5      # a fifth of the questions and errors

Of Spider's dev golds 200 get a known error, forty of each kind; the others stay as they are, their own errors
included: of what is suspected there, some is right. Seeded.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlglot
from sqlglot import exp

from text2sql.base.files import read_json
from text2sql.databases.audit import Asked, audit
from text2sql.databases.many import populate_rows
from text2sql.databases.populate import Fillings, fillings
from text2sql.engines.question import Question
from text2sql.sources.schemas import ddl_of_spider

PLANTED = 40  # of each kind


def constant(tree: exp.Expr) -> exp.Expr | None:
    """A condition of constants, so that nothing is asked of the rows."""
    return sqlglot.parse_one(f"SELECT {', '.join(['1'] * max(1, len(tree.expressions)))}")


def ignores(tree: exp.Expr) -> exp.Expr | None:
    """A condition on a value is gone."""
    where = tree.args.get("where")
    if where is None or where.find(exp.Query) or not isinstance(where.this, (exp.EQ, exp.GT, exp.LT, exp.GTE, exp.LTE)):
        return None
    tree.set("where", None)
    return tree


def row_order(tree: exp.Expr) -> exp.Expr | None:
    """LIMIT without its ORDER BY."""
    if not (tree.args.get("order") and tree.args.get("limit")):
        return None
    tree.set("order", None)
    return tree


def nothing(tree: exp.Expr) -> exp.Expr | None:
    """A condition that contradicts itself."""
    where = tree.args.get("where")
    if (
        where is None
        or where.find(exp.Query)
        or tree.args.get("group")
        or any(e.find(exp.AggFunc) for e in tree.expressions)
    ):
        return None
    column = where.find(exp.Column)
    low = exp.GT(this=column.copy(), expression=exp.Literal.number(9))
    high = exp.LT(this=column.copy(), expression=exp.Literal.number(9))
    return tree.where(low, high)


def differs(tree: exp.Expr) -> exp.Expr | None:
    """Another gold for the same question, which stands in the file beside the right one."""
    if tree.args.get("order"):
        return None
    tree.set("distinct", None if tree.args.get("distinct") else exp.Distinct())
    shown = tree.expressions[0]
    tree.set(
        "expressions",
        [exp.Count(this=exp.Star())] if not shown.find(exp.AggFunc) else [exp.Min(this=exp.Literal.number(0))],
    )
    return tree


ERRORS: dict[str, Callable[[exp.Expr], exp.Expr | None]] = {
    "constant": constant, "ignores": ignores, "row order": row_order, "nothing": nothing, "differs": differs,
}  # fmt: skip


def plant(rows: list[dict], count: int, rng: random.Random) -> Iterator[dict]:
    """The rows with their errors: {…, kind}, where kind is None for a gold as it was."""
    left = Counter(dict.fromkeys(ERRORS, count))
    for row in rng.sample(rows, len(rows)):
        tree = sqlglot.parse_one(row["query"], dialect="sqlite")
        for kind in sorted(left, key=lambda kind: -left[kind]) if isinstance(tree, exp.Select) else ():
            wrong = ERRORS[kind](tree.copy()) if left[kind] else None
            if wrong is not None:
                left[kind] -= 1
                yield {**row, "query": wrong.sql("sqlite"), "kind": kind}
                break
        else:
            yield {**row, "kind": None}
            continue
        if kind == "differs":
            yield {**row, "kind": "differs"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spider", type=Path, required=True, help="folder with dev.json and tables.json")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th question")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="print what is suspected of golds that nobody touched")
    args = parser.parse_args()

    schemas = {schema["db_id"]: ddl_of_spider(schema) for schema in read_json(args.spider / "tables.json")}
    dev = read_json(args.spider / "dev.json")[:: args.every]
    rows = list(plant(dev, PLANTED // args.every, random.Random(args.seed)))
    table = [
        {"id": n, "context": schemas[row["db_id"]], "answer": row["query"], "dialect": None}
        for n, row in enumerate(rows)
    ]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        instances, results = populate_rows(table, 5, args.seed, args.workers, Path(folder) / "unfinished.jsonl")
    filled = fillings(instances, results)
    populated = time.monotonic()
    asked = [
        Asked(
            n, row["question"], Question(row["query"], filled.get(n, Fillings()).ordinary), False, results[n]["reason"]
        )
        for n, row in enumerate(rows)
    ]
    found, named = Counter(), Counter()
    alarms: Counter[str] = Counter()
    untouched = suspected = 0
    for (one, suspicions), row in zip(audit(asked, args.workers), rows, strict=True):
        kinds = {suspicion.kind for suspicion in suspicions}
        if row["kind"] is None:
            untouched += 1
            suspected += bool(kinds)
            alarms.update(kinds)
            if args.show:
                for kind, reason in suspicions:
                    print(f"{kind}: {reason}\n    {one.text}\n    {one.question.gold_sql}")
        else:
            found[row["kind"]] += bool(kinds)
            named[row["kind"]] += row["kind"] in kinds
    planted = Counter(row["kind"] for row in rows if row["kind"])
    print(f"{len(rows)} golds; populate {populated - begun:.0f} s, audit {time.monotonic() - populated:.0f} s\n")
    print(f"{'planted':12}{'golds':>7}{'suspected':>11}{'by its kind':>13}")
    for kind in ERRORS:
        print(f"{kind:12}{planted[kind]:7}{found[kind]:11}{named[kind]:13}")
    total = sum(planted.values())
    print(f"{'all':12}{total:7}{found.total():11}{named.total():13}   recall {found.total() / max(total, 1):.1%}")
    share = suspected / max(untouched, 1)
    print(f"\nuntouched: {suspected} of {untouched} suspected ({share:.1%}): {dict(alarms.most_common())}")


if __name__ == "__main__":
    main()
