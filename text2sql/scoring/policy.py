"""The terms of the evaluation policy (docs/evaluation.md): its version, its outcomes, what one comparison says."""

from dataclasses import dataclass

POLICY_VERSION = 2

MATCHES = ("match", "vacuous_match")
MISSES = (
    "mismatch", "no_sql", "truncated", "not_a_query", "refused", "syntax", "schema", "dialect", "timeout", "too_large",
)  # fmt: skip
NOT_SCORED = ("gold_error", "infra_error")
OUTCOMES = (*MATCHES, *MISSES, *NOT_SCORED)


@dataclass(frozen=True)
class Verdict:
    """How a predicted answer stands to the gold's on one database."""

    ex: bool  # under one permutation of the columns, the same for all rows
    ex_strict: bool  # column by column as they stand
    ex_set: bool  # as BIRD compares: sets of rows, order and multiplicity ignored
    empty: bool  # the gold has no row
