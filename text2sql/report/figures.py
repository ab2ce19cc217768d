"""The figures of a run: each arm in detail, and the arms compared."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import sqlglot

from text2sql.base.arms import ARMS, FINETUNED, SHORT
from text2sql.base.errors import UserError
from text2sql.report.numbers import mean, rounded
from text2sql.scoring import stats
from text2sql.scoring.conclusions import conclude
from text2sql.scoring.metrics import FLAGS, METRICS
from text2sql.scoring.policy import OUTCOMES, POLICY_VERSION

LABELS = ("complexity", "domain", "language")


def describe(rows: Sequence[Mapping], scores: Sequence[Mapping], generations: Sequence[Mapping]) -> dict[str, Any]:
    """One arm in detail: shares over the questions with a verdict, counts by outcome, and EX by label with its n.

    `ex` is SQL skill, whatever stands around the statement; `ex_raw` counts a text only when it is right as it is.
    `questions` is what a paired comparison with any other run needs: for each id its db_id and its verdict.
    """
    scored = [score for score in scores if score["ex"] is not None]
    if not scored:
        raise UserError("no evaluation question has a usable gold; see data/scores/ for the reasons")
    low, high = stats.wilson(sum(score["ex"] for score in scored), len(scored))
    outcomes = Counter(score["outcome"] for score in scores)
    assert outcomes.total() == len(rows) and set(outcomes) <= set(OUTCOMES)
    finished = Counter(generation["finish_reason"] for generation in generations)
    return {
        "n": len(scored),
        **{metric: rounded(mean(score[metric] for score in scored)) for metric in METRICS},
        "ex_raw": rounded(mean(score["ex"] and score["format_valid"] for score in scored)),
        "ex_lo": rounded(low),
        "ex_hi": rounded(high),
        **{flag: sum(score[flag] for score in scored) for flag in FLAGS},
        "outcomes": {outcome: outcomes[outcome] for outcome in OUTCOMES},
        "finish_reasons": dict(sorted(finished.items())),
        "completion_tokens": sum(generation["completion_tokens"] for generation in generations),
        **{f"by_{label}": by_label(rows, scores, label) for label in LABELS},
        "policy_version": POLICY_VERSION,
        "questions": {row["id"]: [row["db_id"], score["ex"]] for row, score in zip(rows, scores, strict=True)},
    }


def by_label(rows: Sequence[Mapping], scores: Sequence[Mapping], label: str) -> dict[str, dict[str, Any]]:
    """For each value of a label: n, and the execution accuracy with its Wilson interval."""
    groups: dict[str, list[bool]] = {}
    for row, score in zip(rows, scores, strict=True):
        if score["ex"] is not None:
            groups.setdefault(row[label] or "none", []).append(score["ex"])
    described = {}
    for value, verdicts in sorted(groups.items()):
        low, high = stats.wilson(sum(verdicts), len(verdicts))
        described[value] = {"n": len(verdicts), "ex": rounded(mean(verdicts)), "lo": rounded(low), "hi": rounded(high)}
    return described


def compare_arms(rows: Sequence[Mapping], scores: Mapping[str, Sequence[Mapping]]) -> dict[str, Any]:
    """The paired comparison: the gain with all that belongs to it (`stats.figures`) and what may be concluded, the ids
    won and lost, and the golds left out."""
    first, second = (scores[arm] for arm in ARMS)
    both = [(row, *pair) for row, *pair in zip(rows, first, second, strict=True) if pair[0]["ex"] is not None]
    ids = [row["id"] for row, _, _ in both]
    before, after = [score["ex"] for _, score, _ in both], [score["ex"] for _, _, score in both]
    databases = [row["db_id"] for row, _, _ in both]
    gain = stats.estimate_gain([before], [after], databases)
    flipped = stats.flips(ids, before, after)
    return {
        **stats.figures(gain),
        "conclusion": conclude(gain, arm="the fine-tuned model", over="the base model")._asdict(),
        "both_right": sum(b and f for b, f in zip(before, after, strict=True)),
        "both_wrong": sum(not b and not f for b, f in zip(before, after, strict=True)),
        "won": flipped["won"],
        "lost": flipped["lost"],
        "gold_errors": {
            row["id"]: score["error"] for row, score in zip(rows, first, strict=True) if score["ex"] is None
        },
    }


def judge_summary(judgements: Mapping[str, Mapping]) -> dict[str, float | None]:
    """Accuracy by the judge for both arms, and its kappa with execution on the fine-tuned arm."""
    return {
        **{SHORT[arm]: rounded(judgements[arm]["accuracy"]) for arm in ARMS},
        "kappa": rounded(judgements[FINETUNED]["kappa"]),
    }


def by_engine(scores: Sequence[Mapping]) -> dict[str, int]:
    """How many questions each engine gave the verdicts on, golds that failed there included."""
    return dict(sorted(Counter(score["engine"] for score in scores).items()))


def versions() -> dict[str, Any]:
    """What the verdicts depend on beside the data."""
    return {"policy_version": POLICY_VERSION, "sqlite": sqlite3.sqlite_version, "sqlglot": sqlglot.__version__}
