"""What a judge's verdicts come to: its accuracy, and how far it agrees with execution.

`accuracy` is the share of rows called correct among those with a verdict (`cannot_tell` is one that is not "correct",
`judge_error` is none), with Wilson's interval. Agreement and kappa, with its interval, compare with execution accuracy
on the rows where both instruments say yes or no; what is left out is counted beside them. `yes` is the share of yes of
each on those rows, without which kappa cannot be read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from text2sql.scoring.stats import agreement, wilson

VERDICTS = ("correct", "incorrect", "cannot_tell", "judge_error")
RATERS = ("judge", "execution")


def accuracy(correct: int, judged: int) -> dict[str, float | None]:
    """The share of rows called correct with its 95 % interval; None where no row has a verdict."""
    low, high = wilson(correct, judged) if judged else (None, None)
    return {"accuracy": rate(correct, judged), "accuracy_lo": low, "accuracy_hi": high}


def compared(pairs: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    """Agreement, Cohen's kappa with its interval, the share of yes of both, and the 2x2 table of (judge, execution)
    pairs; None where they are undefined."""
    judge, execution = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found = agreement(judge, execution) if pairs else None
    return {
        "compared": len(pairs),
        "agreement": rate(sum(a == b for a, b in pairs), len(pairs)),
        "kappa": found and found.kappa,
        "kappa_lo": found and found.lo,
        "kappa_hi": found and found.hi,
        "yes": found and dict(zip(RATERS, found.yes, strict=True)),
        "table": {
            f"judge_{'yes' if a else 'no'}_execution_{'yes' if b else 'no'}": pairs.count((a, b))
            for a in (True, False)
            for b in (True, False)
        },
    }


def metrics_of(metrics: Mapping[str, Any], rows: Sequence[Mapping], ex: Sequence[bool | None]) -> dict[str, Any]:
    """The metrics of some of the rows that `metrics` are of: counts, accuracy and agreement are theirs alone, what was
    spent and why the server failed stays that of all.

    rows: of OUT.jsonl. ex: what execution says of each.
    """
    counts = Counter(row["verdict"] for row in rows)
    pairs = [
        (row["verdict"] == "correct", right)
        for row, right in zip(rows, ex, strict=True)
        if right is not None and row["verdict"] in ("correct", "incorrect")
    ]
    return {
        **metrics,
        "n": len(rows),
        **{verdict: counts[verdict] for verdict in VERDICTS},
        **accuracy(counts["correct"], len(rows) - counts["judge_error"]),
        **compared(pairs),
        "disagreements": sum(judge != execution for judge, execution in pairs),
    }


def rate(part: int, whole: int) -> float | None:
    """part / whole, None for 0 / 0."""
    return part / whole if whole else None
