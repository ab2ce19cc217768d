"""Which training rows stand as examples before a question: those whose questions are most alike, by BM25.

BM25 counts words, needs no model and no hub, and gives the same answer everywhere.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

# bm25s starts JAX where it is installed, which would take three quarters of a card's memory for nothing.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import bm25s
import numpy as np

from text2sql.base.errors import UserError
from text2sql.base.files import write_jsonl
from text2sql.dataset.leaks import normal_question
from text2sql.dataset.rows import read_rows
from text2sql.sql.context import schema_of

MASK = "_"  # stands for a word that the row's schema has a name for


class Retriever:
    """Training rows by the likeness of their questions to others."""

    def __init__(self, rows: Sequence[Mapping[str, str]]) -> None:
        """rows: of the training table (keys question, context), in its order."""
        self.terms = [terms(row) for row in rows]
        self.index = bm25s.BM25()
        if rows:
            self.index.index(self.terms, show_progress=False)

    def nearest(self, row: Mapping[str, str], count: int, *, unlike: bool = False) -> list[int]:
        """The places of the `count` rows most like `row`, the most alike first, of equally alike ones the earlier.

        unlike: without those that ask the same, as the row itself where it is one of the table's.
        """
        if not count or not self.terms:
            return []
        wanted = terms(row)
        ranked = np.argsort(-self.index.get_scores(wanted), kind="stable").tolist()
        return [place for place in ranked if not unlike or self.terms[place] != wanted][:count]


def terms(row: Mapping[str, str]) -> list[str]:
    """What a question is compared by: its words, and its words with the names of its schema masked.

    The first find questions about like things, the second questions of like form about other things
    (docs/arms.md has the measurement).
    """
    words = normal_question(row["question"]).split()
    names = schema_names(row["context"])
    return [f"word:{word}" for word in words] + [mask(word, names) for word in words]


def mask(word: str, names: set[str]) -> str:
    """MASK for a name of the schema, also with the endings that Korean puts behind it; # for what holds a digit."""
    if word in names or (not word.isascii() and any(word.startswith(name) for name in names if len(name) > 1)):
        return MASK
    return "#" if any(map(str.isdigit, word)) else word


def schema_names(context: str) -> set[str]:
    """The words of the schema's names, in lower case, singular and plural."""
    names = {part for name in re.findall(r"\w+", schema_of(context).lower()) for part in (name, *name.split("_"))}
    plurals = {f"{name[:-1]}ies" if name.endswith("y") else f"{name}s" for name in names}
    return names | plurals


def write_examples(train: Path, evaluation: Path, shots: int, out: Path) -> None:
    """Writes for each evaluation question {"id", "examples": training rows, the most alike first}.

    Examples come from the training table alone, which holds no row of an evaluation database where databases were held
    out. Raises UserError where there are shots and no training rows.
    """
    rows = read_rows(train) if shots else []
    if shots and not rows:
        raise UserError(f"{train}: no rows to take examples from; set shots: 0")
    retriever = Retriever(rows)
    write_jsonl(
        out,
        (
            {"id": row["id"], "examples": [rows[place] for place in retriever.nearest(row, shots)]}
            for row in read_rows(evaluation)
        ),
    )
