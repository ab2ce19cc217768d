"""How often a cut schema shows the tables that the gold queries need: what the cut costs before any model answers."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import traverse_scope

from text2sql.base.params import PromptParams
from text2sql.models.prompts import shown_tables
from text2sql.sql.ddl import Table, keys_of


def missing_tables(rows: Sequence[Mapping], prompt: PromptParams) -> dict[str, dict[str, Any]]:
    """Where the schema is cut, for each row by its id: `gold_tables`, how many tables of the schema the gold reads, and
    `missing_tables`, those of them that the prompt does not show; both null for a gold that cannot be read.
    """
    if prompt.schema_ == "full" or prompt.context == "full":
        return {}
    found = {}
    for row in rows:
        shown, tables = shown_tables(row, prompt)
        gold = gold_tables(row["answer"], row.get("dialect"), tables)
        names = {table.name for table in shown}
        missing = None if gold is None else [name for name in gold if name not in names]
        found[row["id"]] = {"gold_tables": None if gold is None else len(gold), "missing_tables": missing}
    return found


def gold_tables(sql: str, dialect: str | None, tables: Sequence[Table]) -> list[str] | None:
    """The names of the schema's tables that a query reads, in the schema's order; None where it cannot be read."""
    try:
        tree = sqlglot.parse_one(sql, read=dialect or "sqlite")
        scopes = traverse_scope(tree)
    except (SqlglotError, RecursionError, ValueError):
        return None
    sources = [source for scope in scopes for source in scope.sources.values() if isinstance(source, exp.Table)]
    read = {key for source in sources for key in keys_of(source.name)}
    return [table.name for table in tables if not read.isdisjoint(keys_of(table.name))]


def recall_line(found: Collection[Mapping]) -> str:
    """One line for people: how many questions have all of their gold's tables, and the share of tables shown."""
    read = [row for row in found if row["gold_tables"]]
    whole, tables = sum(not row["missing_tables"] for row in read), sum(row["gold_tables"] for row in read)
    shown = tables - sum(len(row["missing_tables"]) for row in read)
    if not read:
        return "the cut schema's recall is not known: no gold names a table of its schema"
    line = (
        f"the cut schema shows all of the gold's tables for {whole:,} of {len(read):,} questions"
        f" ({100 * whole / len(read):.1f} %), {100 * shown / tables:.1f} % of the tables"
    )
    unread = len(found) - len(read)
    return line + (f"; {unread:,} golds are not counted, which name no table of their schema" if unread else "")
