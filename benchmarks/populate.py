"""How much the generated evaluation databases prove, how many golds they serve, and how long they take.

    python benchmarks/populate.py --spider ../shared/data/spider
    python benchmarks/populate.py --rows ../shared/data/ko_sql_create_context/test.jsonl.gz --limit 500
    python benchmarks/populate.py --rows tests/data/korean_games.jsonl --k 5 --workers 2 --json populate.json
    python benchmarks/populate.py --real ../shared/data/spider/real --seeds 0,1,2 --every 3

With --real, predictions of real systems are judged on filled databases, where on databases with real rows their verdict
is known: how many that are wrong there are accepted, how many that are right there are rejected, how many verdicts
change with the seed, and how many change where half of the questions are left out and the rest stand in another order.
`--every N` takes every N-th question. The folder holds schemas.json (name: DDL) and predictions.jsonl.gz of
{id, db_id, gold_sql, prediction, real_ex}.

Else rows are {id, context, answer or gold, dialect}. Two ways of making databases stand side by side on the same golds
and mutants: `aimed` is text2sql's; `random` fills the same schemas with the same number of rows without looking at the
golds, as the usual way of testing on random fillings does.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from text2sql.base.files import read_json, read_jsonl, write_json
from text2sql.databases import aims
from text2sql.databases.filler import Filler, Pools
from text2sql.databases.many import populate_rows
from text2sql.databases.mutants import mutants
from text2sql.databases.populate import LIMITS, Fillings, candidate, fillings, read_gold, summarize
from text2sql.databases.schema import Schema, read_schema
from text2sql.engines.question import Question
from text2sql.engines.sqlite import Answer, Failure, build, query
from text2sql.scoring.compare import compare
from text2sql.scoring.gold import answer_gold, plan
from text2sql.scoring.score import Item, score_rows
from text2sql.sql.dialect import declared, to_sqlite, to_sqlite_ddl


def spider_rows(folder: Path) -> list[dict]:
    from text2sql.sources.schemas import ddl_of_spider

    schemas = {schema["db_id"]: ddl_of_spider(schema) for schema in read_json(folder / "tables.json")}
    return [
        {"id": f"dev-{n}", "context": schemas[row["db_id"]], "answer": row["query"], "dialect": "sqlite"}
        for n, row in enumerate(read_json(folder / "dev.json"))
    ]


def probe(rows: list[dict], results: list[dict], count: int) -> int:
    """How many of the mutants presumed equivalent does one of `count` further fillings, each aimed at their gold alone
    and made with other seeds, tell apart?"""
    found = 0
    for row, result in zip(rows, results, strict=True):
        if not (result["usable"] and result["undecided"]):
            continue
        schema = read_schema(to_sqlite_ddl(row["context"], row.get("dialect")))
        sql = to_sqlite(row["answer"], row.get("dialect"), declared(row["context"], row.get("dialect")))
        gold = read_gold(sql, schema, build(";\n".join(schema.before)))
        pools = Pools(schema, [gold.aim])
        alive = {n for n, mutant in enumerate(gold.mutants) if mutant.sql in result["undecided"]}
        for number in range(count):
            seen = gold.look(candidate(schema, pools, gold, number, "probe", gaps=True), alive)
            if seen and seen[1]:
                print("told apart by a probe:", row["answer"], *(f"\n    {gold.mutants[n].sql}" for n in seen[1]))
                found += len(seen[1])
                alive -= seen[1]
            if not alive:
                break
    return found


def without_aim(rows: list[dict], k: int, seed: int) -> dict:
    """Usable golds and killed mutants on k random fillings per schema that know nothing of the golds."""
    usable = total = killed = 0
    contexts = {(row["context"], row.get("dialect")) for row in rows}
    for context, dialect in sorted(contexts, key=str):
        schema = (
            read_schema(to_sqlite_ddl(context, dialect)) if isinstance(to_sqlite_ddl(context, dialect), str) else None
        )
        if not isinstance(schema, Schema):
            continue
        pools = Pools(schema, [])
        databases = []
        for number in range(k):
            filler = Filler(schema, pools, random.Random(f"{seed}/{number}"))
            filler.fill(25)
            databases.append(build(filler.script()))
        for row in rows:
            if (row["context"], row.get("dialect")) != (context, dialect):
                continue
            sql = to_sqlite(row["answer"], dialect, declared(row["context"], dialect))
            if not isinstance(sql, str) or isinstance(query(databases[0], sql, LIMITS), Failure):
                continue
            golds = [answer_gold(database, plan(sql), LIMITS) for database in databases]
            usable += any(not isinstance(g, Failure) and g.answer.rows not in ([], [(None,)]) for g in golds)
            for mutant in mutants(aims.parse(sql, schema), schema):
                answers = [query(database, mutant.sql, LIMITS) for database in databases]
                if any(isinstance(answer, Answer) for answer in answers):
                    total += 1
                    pairs = [(g, a) for g, a in zip(golds, answers, strict=True) if not isinstance(g, Failure)]
                    killed += any(isinstance(a, Failure) or not compare(g, a).ex for g, a in pairs)
    return {"n": len(rows), "usable": usable, "mutants": total, "killed": killed, "raw_rate": killed / max(total, 1)}


def real_predictions(folder: Path, every: int) -> list[dict]:
    """Predictions whose verdict on real rows is known, on every so-many-th question, each with its DDL as `context`."""
    schemas = read_json(folder / "schemas.json")
    rows = [{**row, "context": schemas[row["db_id"]]} for row in read_jsonl(folder / "predictions.jsonl.gz")]
    kept = set(list(dict.fromkeys(map(question_of, rows)))[::every])
    return [row for row in rows if question_of(row) in kept]


def question_of(row: dict) -> tuple[str, str]:
    return row["context"], row["gold_sql"]


def fill(questions: list[tuple[str, str]], k: int, seed: int, workers: int) -> tuple[dict, list[dict]]:
    """The fillings of each question, and what `populate_rows` says of each."""
    table = [{"id": q, "context": q[0], "answer": q[1]} for q in questions]
    with tempfile.TemporaryDirectory() as folder:
        instances, results = populate_rows(table, k, seed, workers, Path(folder) / "unfinished.jsonl")
    return fillings(instances, results), results


def judge(rows: list[dict], filled: dict[tuple[str, str], Fillings], workers: int) -> dict[str, dict]:
    """The scores of predictions on the fillings of their questions, by id."""
    items = []
    for row in rows:
        own = filled[question_of(row)]
        items.append(Item(row["id"], Question(row["gold_sql"], own.ordinary, harsh=own.harsh), row["prediction"]))
    return {row["id"]: row for row in score_rows(items, workers=workers)}


def against_real_rows(rows: list[dict], k: int, seeds: list[int], workers: int) -> dict:
    """The figures of --real, for each seed, and over all of them."""
    questions = list(dict.fromkeys(map(question_of, rows)))
    figures: dict = {"questions": len(questions), "k": k, "seeds": {}}
    scores, first = {}, {}
    for seed in seeds:
        begun = time.monotonic()
        filled, results = fill(questions, k, seed, workers)
        first = first or filled
        populated = time.monotonic()
        usable = [row for row in rows if question_of(row) in filled]
        scores[seed] = judge(usable, filled, workers)
        wrong = [scores[seed][row["id"]] for row in usable if not row["real_ex"]]
        right = [scores[seed][row["id"]] for row in usable if row["real_ex"]]
        figures["seeds"][seed] = {
            "usable": len(filled), "wrong": len(wrong), "right": len(right),
            "accepted": sum(row["ex"] for row in wrong), "accepted_harsh": sum(row["ex_harsh"] for row in wrong),
            "rejected": sum(not row["ex"] for row in right),
            "rejected_harsh": sum(not row["ex_harsh"] for row in right),
            "kill_rate": summarize(results)["kill_rate"],
            "populate_seconds": populated - begun, "score_seconds": time.monotonic() - populated,
        }  # fmt: skip
        print(json.dumps({"seed": seed, **figures["seeds"][seed]}), file=sys.stderr)
        for row in usable:
            if not row["real_ex"] and scores[seed][row["id"]]["ex"]:
                print(
                    "accepted:", row["id"], row["gold_sql"], "\n    ", " ".join(row["prediction"].split()), flush=True
                )
    said = [{seed: scores[seed].get(row["id"], {}).get("ex") for seed in seeds} for row in rows]
    figures["pairs"] = len(rows)
    figures["changed_with_seed"] = sum(len(set(verdicts.values())) > 1 for verdicts in said)
    half = questions[::-2]
    alone, _ = fill(half, k, seeds[0], workers)
    moved = [row for row in rows if question_of(row) in alone and alone[question_of(row)] != first[question_of(row)]]
    again = judge(moved, alone, workers)
    figures["pairs_in_other_company"] = sum(question_of(row) in alone for row in rows)
    figures["changed_with_company"] = sum(again[row["id"]]["ex"] != scores[seeds[0]][row["id"]]["ex"] for row in moved)
    return figures


def print_real(figures: dict) -> None:
    print(f"{figures['pairs']} predictions on {figures['questions']} questions, k = {figures['k']}\n")
    print(f"{'':6}{'wrong on real rows':>20}{'accepted':>10}{'by ex_harsh':>13}{'right':>8}{'rejected':>10}"
          f"{'by ex_harsh':>13}{'kill rate':>11}{'populate s':>12}{'score s':>9}")  # fmt: skip
    for seed, row in figures["seeds"].items():
        share = f"{row['rejected']} {row['rejected'] / row['right']:.1%}"
        print(f"seed {seed}{row['wrong']:20}{row['accepted']:10}{row['accepted_harsh']:13}{row['right']:8}{share:>10}"
              f"{row['rejected_harsh']:13}{row['kill_rate']:11.2%}{row['populate_seconds']:12.1f}"
              f"{row['score_seconds']:9.1f}")  # fmt: skip
    print(f"\nverdicts that change among the seeds: {figures['changed_with_seed']} of {figures['pairs']}")
    print(f"verdicts that change in other company: {figures['changed_with_company']} of "
          f"{figures['pairs_in_other_company']}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--spider", type=Path, help="folder with dev.json and tables.json")
    source.add_argument("--rows", type=Path, help="JSON Lines (may be gzipped) of {id, context, answer, dialect}")
    source.add_argument("--real", type=Path, help="folder with schemas.json and predictions.jsonl.gz (see above)")
    parser.add_argument("--seeds", default="0,1,2", help="of --real (default: 0,1,2)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="with --real, every N-th question")
    parser.add_argument("--limit", type=int, help="only the first so many rows")
    parser.add_argument("--k", type=int, default=5, help="instances per row")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--probes", type=int, default=0, help="further fillings to test presumed equivalents on")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()

    if args.real:
        figures = against_real_rows(
            real_predictions(args.real, args.every), args.k, [int(seed) for seed in args.seeds.split(",")], args.workers
        )
        print_real(figures)
        if args.json:
            write_json(args.json, figures)
        return
    rows = spider_rows(args.spider) if args.spider else list(read_jsonl(args.rows))
    rows = list(itertools.islice(rows, args.limit))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        instances, results = populate_rows(rows, args.k, args.seed, args.workers, Path(folder) / "unfinished.jsonl")
    aimed = {**summarize(results), "seconds": time.monotonic() - begun}
    aimed |= {"scripts": len(instances), "megabytes": sum(len(i["setup_sql"]) for i in instances) / 1e6}
    if args.probes:
        late = probe(rows, results, args.probes)
        aimed |= {"probes": args.probes, "told_apart_by_probes": late}
        told = aimed["killed"] + aimed["harshly"]
        aimed["kill_rate_after_probes"] = told / (told + aimed["survived"] + late)
    begun = time.monotonic()
    unaimed = {**without_aim(rows, args.k, args.seed), "seconds": time.monotonic() - begun}

    print(f"{len(rows)} golds, {len({row['context'] for row in rows})} contexts, k = {args.k}\n")
    print(
        f"{'':8}{'usable':>8}{'mutants':>9}{'killed':>8}{'harshly':>9}{'equivalent':>12}{'presumed':>10}"
        f"{'raw':>8}{'kill rate':>11}{'s':>8}"
    )
    print(f"{'aimed':8}{aimed['usable']:8}{aimed['mutants']:9}{aimed['killed']:8}{aimed['harshly']:9}"
          f"{aimed['equivalent']:12}{aimed['presumed']:10}"
          f"{aimed['raw_rate']:8.1%}{aimed['kill_rate']:11.2%}{aimed['seconds']:8.1f}")  # fmt: skip
    print(f"{'random':8}{unaimed['usable']:8}{unaimed['mutants']:9}{unaimed['killed']:8}{'':9}{'':12}{'':10}"
          f"{unaimed['raw_rate']:8.1%}{'':11}{unaimed['seconds']:8.1f}")  # fmt: skip
    print(f"\nscripts {aimed['scripts']}, {aimed['megabytes']:.1f} MB")
    if args.probes:
        late, rate = aimed["told_apart_by_probes"], aimed["kill_rate_after_probes"]
        print(f"{args.probes} further fillings a gold told {late} presumed equivalents apart: kill rate {rate:.2%}")
    print(f"\n{'mutant kind':26}{'killed':>8}{'harshly':>9}{'survived':>10}{'equivalent':>12}{'presumed':>10}")
    for kind, counts in aimed["by_kind"].items():
        print(f"{kind:26}{counts[0]:8}{counts[1]:9}{counts[2]:10}{counts[3]:12}{counts[4]:10}")
    print("\nnot usable:", json.dumps(aimed["unusable"]))
    for row, result in zip(rows, results, strict=True):
        if not result["usable"]:
            print(f"  {result['id']}: {result['reason']}: {row['answer'][:150]}")
    if args.json:
        write_json(args.json, {"aimed": aimed, "random": unaimed})


if __name__ == "__main__":
    main()
