"""How many of the golds' tables a cut schema keeps, at several budgets, in a database of 500 tables.

    python benchmarks/schema_cut.py --spider ../shared/data/spider --json cut.json
    python benchmarks/schema_cut.py --spider ../shared/data/spider --project FOLDER --tables 60

With --project, a finished run's fine-tuned model answers its evaluation questions again: about their own schema, about
the large one whole, and about what the cut leaves of it. How many answers are right, judged as in the run?

Each question's own tables stand somewhere among those of Spider's other databases and of the generated data set's
whose names do not collide with them. The questions are Spider's dev questions and some of the generated ones.
Beside the project's order stands its parts: names alone without foreign keys, and chance.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from ruamel.yaml import YAML

from text2sql.base.files import read_json, read_jsonl, write_json
from text2sql.base.params import read_params
from text2sql.dataset.rows import read_table, write_table
from text2sql.generation.recall import gold_tables
from text2sql.models import schema
from text2sql.sources import read
from text2sql.sources.schemas import ddl_of_spider
from text2sql.sql.ddl import Table, keys_of, read_script

ROOT = Path(__file__).resolve().parents[1]
BUDGETS = (4, 8, 12, 16, 24, 32)
SEED = 7


def questions(spider: Path, every: int) -> dict[str, list[dict]]:
    """Rows (context, question, answer) by where they come from."""
    schemas = {one["db_id"]: ddl_of_spider(one) for one in read_json(spider / "tables.json")}
    dev = [
        {"context": schemas[row["db_id"]], "question": row["question"], "answer": row["query"]}
        for row in read_json(spider / "dev.json")
    ]
    (ingest,) = read_params("ingest")
    generated = list(read(ingest.model_copy(update={"source": "synthetic"}))["train"])[::every]
    by_language = {
        f"generated, {name}": [row for row in generated if row["language"] == language]
        for language, name in (("en", "English"), ("ko", "Korean"))
    }
    return {"Spider dev": dev} | by_language


def all_tables(spider: Path, rows: dict[str, list[dict]]) -> list[Table]:
    """Every table of every schema there is, in an order that tells nothing."""
    scripts = {ddl_of_spider(one) for one in read_json(spider / "tables.json")}
    scripts |= {row["context"] for found in rows.values() for row in found}
    tables = [table for script in sorted(scripts) for table in read_script(script, "sqlite").tables]
    random.Random(SEED).shuffle(tables)
    return tables


def large_schema(own: Sequence[Table], others: Sequence[Table], size: int) -> list[Table]:
    """A schema of `size` tables with `own` among them, in the order of their names."""
    taken = {key for table in own for key in keys_of(table.name)}
    found = list(own)
    for table in others:
        if len(found) == size:
            break
        if taken.isdisjoint(keys_of(table.name)):
            taken.update(keys_of(table.name))
            found.append(table)
    return sorted(found, key=lambda table: table.name)


@lru_cache
def without_keys(tables: tuple[Table, ...]) -> list[Table]:
    return [replace(table, foreign_keys=()) for table in tables]


def by_cut(tables: Sequence[Table], question: str) -> Callable[[int], list[int]]:
    order, links = schema.nearest(tables, question)[0], schema.neighbours(tuple(tables))
    return lambda budget: schema.taken(order, links, budget)


def by_names(tables: Sequence[Table], question: str) -> Callable[[int], list[int]]:
    order = schema.nearest(without_keys(tuple(tables)), question)[0]
    return lambda budget: order[:budget]


def by_chance(tables: Sequence[Table], question: str) -> Callable[[int], list[int]]:
    order = random.Random(question).sample(range(len(tables)), len(tables))
    return lambda budget: order[:budget]


WAYS = {"cut": by_cut, "names alone": by_names, "chance": by_chance}


def measure(rows: list[dict], others: Sequence[Table], size: int) -> Iterator[dict]:
    """The recall of each way at each budget: share of questions with all of their gold's tables, and of the tables."""
    asked, schemas = [], {}
    for row in rows:
        if row["context"] not in schemas:
            own = read_script(row["context"], "sqlite").tables
            schemas[row["context"]] = large_schema(own, others, size)
        tables = schemas[row["context"]]
        if gold := gold_tables(row["answer"], "sqlite", tables):
            asked.append((row["question"], tables, set(gold)))
    for way, rank in WAYS.items():
        start = time.process_time()
        ranked = [(rank(tables, question), tables, gold) for question, tables, gold in asked]
        milliseconds = 1000 * (time.process_time() - start) / len(asked)
        for budget in BUDGETS:
            shown = [([tables[place] for place in places(budget)], gold) for places, tables, gold in ranked]
            found = [(gold & {table.name for table in some}, gold) for some, gold in shown]
            yield {
                "way": way, "budget": budget, "questions": len(asked), "of": len(rows),
                "questions_whole": round(sum(hits == gold for hits, gold in found) / len(asked), 4),
                "tables_shown": round(sum(len(hits) for hits, _ in found) / sum(len(gold) for _, gold in found), 4),
                "characters": round(sum(len(t.statement) for some, _ in shown for t in some) / len(asked)),
                "cpu_milliseconds": round(milliseconds, 2),
            }  # fmt: skip


def accuracy(project: Path, others: Sequence[Table], size: int) -> Iterator[dict]:
    """How many evaluation questions a finished run's fine-tuned model answers right, by the schema that it is shown."""
    rows = read_table(project / "data/selected/eval.parquet")
    large = {
        context: ";\n".join(
            table.statement for table in large_schema(read_script(context, "sqlite").tables, others, size)
        )
        for context in set(rows["context"])
    }
    for shown, budget in [("own", None), ("all", None), *(("cut", budget) for budget in BUDGETS[:3])]:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for name in ("prompts", "data/databases", "data/examples", "models/base", "models/finetuned"):
                shutil.copytree(project / name, folder / name)
            document = YAML()
            params = document.load(project / "params.yaml")
            params["prompt"] |= {"schema": "cut", "schema_tables": budget} if budget else {"schema": "full"}
            document.dump(params, folder / "params.yaml")
            asked = rows if shown == "own" else rows.assign(context=rows["context"].map(large))
            for stage, table in (("generate", asked), ("score", rows)):
                write_table(folder / "data/selected/eval.parquet", table)
                command = [sys.executable, str(ROOT / f"stages/{stage}.py"), "finetuned"]
                subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)
            answers, scores = (
                list(read_jsonl(folder / f"data/{kind}/finetuned.jsonl")) for kind in ("generations", "scores")
            )
            right = Counter(language for score, language in zip(scores, rows["language"], strict=True) if score["ex"])
            yield {
                "shown": shown, "tables": budget, "questions": Counter(rows["language"]), "right": right,
                "prompt_tokens": round(sum(answer["prompt_tokens"] for answer in answers) / len(answers)),
                "too_long": sum(answer["finish_reason"] == "prompt_too_long" for answer in answers),
            }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spider", type=Path, required=True, help="folder with Spider's tables.json and dev.json")
    parser.add_argument("--tables", type=int, default=500, help="of the large schema (default: 500)")
    parser.add_argument("--every", type=int, default=8, help="take one generated row in so many (default: 8)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--project", type=Path, help="a finished run: how its model answers")
    args = parser.parse_args()
    rows = questions(args.spider, args.every)
    others = all_tables(args.spider, rows)
    if args.project:
        found = []
        for line in accuracy(args.project, others, args.tables):
            print(json.dumps(line), flush=True)
            found.append(line)
        if args.json:
            write_json(args.json, {"tables": args.tables, "seed": SEED, "results": found})
        return
    results = {name: list(measure(found, others, args.tables)) for name, found in rows.items()}
    for name, lines in results.items():
        for line in lines:
            print(
                f"{name:20} {line['way']:12} {line['budget']:3} tables: all of the gold's in"
                f" {100 * line['questions_whole']:5.1f} % of {line['questions']} questions,"
                f" {100 * line['tables_shown']:5.1f} % of tables, {line['characters']:6,} characters,"
                f" {line['cpu_milliseconds']} ms"
            )
    if args.json:
        write_json(args.json, {"tables": args.tables, "seed": SEED, "results": results})


if __name__ == "__main__":
    main()
