"""How often the cause that text2sql/sql/causes.py names for a wrong query is the right one.

On mutants, whose cause is known: every small change of every gold of Spider's dev questions that is not proven to be
none. On predictions of real systems that are wrong on real rows, against causes read by hand: causes_read.json holds,
by a prediction's id, the causes of which a reader would take any as the first. Prints a confusion table each.

    python benchmarks/causes.py --spider ../shared/data/spider
    python benchmarks/causes.py --spider ../shared/data/spider --wrong        # also what is not agreed with
    python benchmarks/causes.py --spider ../shared/data/spider --sample 40 --seed 2   # wrong predictions to read
"""

import argparse
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlglot import exp

from text2sql.base.files import read_json, read_jsonl
from text2sql.databases import aims
from text2sql.databases.mutants import mutants
from text2sql.databases.schema import Schema, read_schema
from text2sql.sources.schemas import ddl_of_spider
from text2sql.sql.causes import causes

READ = Path(__file__).with_name("causes_read.json")

# The kinds of mutants, and the causes that are right for each: a change may stand in a key or in a join's condition.
KINDS = {
    "aggregate": "aggregate",
    "and/or": "condition",
    "column": "column, grouping, order or limit",
    "comparison": "condition, join",
    "condition dropped": "condition, join",
    "count of different values": "distinct, order or limit",
    "distinct": "distinct",
    "group key dropped": "grouping",
    "having dropped": "condition",
    "join added": "join",
    "join condition": "join",
    "join kind": "join",
    "join multiplicity": "grouping",
    "letter case": "expression",
    "like pattern": "literal",
    "limit": "order or limit",
    "literal": "literal",
    "negation": "condition",
    "not null": "condition",
    "offset": "order or limit",
    "order direction": "order or limit",
    "order dropped": "order or limit",
    "regrouped": "grouping",
    "rounding": "expression",
    "set operation": "set operation",
    "table": "table",
    "ties": "condition, order or limit, nesting",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spider", type=Path, required=True, help="folder with dev.json, tables.json and real/")
    parser.add_argument("--every", type=int, default=1, help="take every N-th gold (default: 1)")
    parser.add_argument("--wrong", action="store_true", help="print what the classifier and the label do not agree on")
    parser.add_argument("--sample", type=int, help="print so many wrong real predictions to read")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.sample:
        wrong = [row for row in read_jsonl(arguments.spider / "real/predictions.jsonl.gz") if with_tree(row)]
        for row in random.Random(arguments.seed).sample(wrong, arguments.sample):
            print(f"{row['id']} {row['question']}\n  {row['gold_sql']}\n  {row['prediction']}")
        return
    report("mutants of Spider's dev golds", known(arguments.spider, arguments.every), arguments)
    report("predictions of real systems, read by hand", read_by_hand(arguments.spider), arguments)


def with_tree(row: dict) -> bool:
    return row["real_outcome"] == "mismatch"


def known(spider: Path, every: int = 1) -> Iterator[tuple[str, set[str], str, str]]:
    """(kind, right causes, gold, mutant) of every mutant of every gold."""
    schemas = {schema["db_id"]: ddl_of_spider(schema) for schema in read_json(spider / "tables.json")}
    golds = dict.fromkeys((row["db_id"], row["query"]) for row in read_json(spider / "dev.json"))
    for db, gold in list(golds)[::every]:
        schema = read_schema(schemas[db])
        assert isinstance(schema, Schema)
        tree = aims.parse(gold, schema)
        for mutant in mutants(tree, schema):
            if mutant.equivalent is None:
                yield mutant.kind, set(KINDS[mutant.kind].split(", ")), gold, mutant.sql
        for kind, sql in relations(tree, schema) if tree is not None else ():
            yield kind, set(KINDS[kind].split(", ")), gold, sql


def relations(tree: exp.Expr, schema: Schema) -> Iterator[tuple[str, str]]:
    """Two changes more, that `mutants` does not make: another table, another column in a join's condition."""
    for number, table in enumerate(tree.find_all(exp.Table)):
        names = [name for name in schema.tables if name != table.name.lower()]
        if names:
            copy = tree.copy()
            list(copy.find_all(exp.Table))[number].set("this", exp.to_identifier(names[number % len(names)]))
            yield "table", copy.sql("sqlite")
    for number, join in enumerate(tree.find_all(exp.Join)):
        if isinstance(join.args.get("on"), exp.EQ):
            copy = tree.copy()
            list(copy.find_all(exp.Join))[number].args["on"].this.set("this", exp.to_identifier("another"))
            yield "join condition", copy.sql("sqlite")


def read_by_hand(spider: Path) -> Iterator[tuple[str, set[str], str, str]]:
    """(the reader's causes, the same as a set, gold, prediction) of every prediction that was read."""
    rows = {row["id"]: row for row in read_jsonl(spider / "real/predictions.jsonl.gz")}
    for key, right in read_json(READ).items():
        yield right, set(right.split(", ")), rows[key]["gold_sql"], rows[key]["prediction"]


def report(title: str, cases: Iterable[tuple[str, set[str], str, str]], arguments: argparse.Namespace) -> None:
    """Prints how often the first cause is right, how often a right one is among the causes, and what was said."""
    said: dict[str, Counter[str]] = {}
    first, among = 0, 0
    for kind, right, gold, predicted in cases:
        found = causes(gold, predicted)
        said.setdefault(kind, Counter())[found[0]] += 1
        first += found[0] in right
        among += bool(right & set(found))
        if arguments.wrong and found[0] not in right:
            print(f"{kind}: {found}\n  {gold}\n  {predicted}")
    total = sum(counts.total() for counts in said.values())
    print(f"{title}: {total:,}; first cause right {first / total:.1%}, among the causes {among / total:.1%}")
    for kind, counts in sorted(said.items()):
        agreed = sum(counts[cause] for cause in KINDS.get(kind, kind).split(", "))
        names = ", ".join(f"{cause} {count:,}" for cause, count in counts.most_common())
        print(f"  {kind:<26} {counts.total():>6,}  {agreed / counts.total():>6.1%}  {names}")


if __name__ == "__main__":
    main()
