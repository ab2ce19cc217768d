"""Joins what the stages measured, by id, into the files that git keeps: metrics/summary.json and what explains it."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from text2sql.base.arms import ARMS, SHORT
from text2sql.base.errors import UserError
from text2sql.base.files import read_json, read_jsonl, write_json
from text2sql.base.machine import machine
from text2sql.databases.populate import read_databases, read_unusable, summarize
from text2sql.dataset.account import account
from text2sql.dataset.rows import count_rows, read_table
from text2sql.engines.pool import cores
from text2sql.report.explorer import write_explorer
from text2sql.report.numbers import mean, rounded
from text2sql.report.plots import length_rows, loss_rows, outcome_plots, plot_rows, size_rows, write_tsv
from text2sql.scoring import stats
from text2sql.scoring.compare import POLICY_VERSION
from text2sql.scoring.score import OUTCOMES, arm_items

LABELS = ("complexity", "domain", "language")
RATES = ("ex", "ex_strict", "ex_set", "em_text", "em_ast", "format_valid")


def report(data: Path, metrics: Path, *, resamples: int, seed: int) -> dict[str, Any]:
    """Writes summary.json, comparison.json, data.json, {base,finetuned}.json, plots/ and explorer.html into `metrics`.

    resamples, seed: of the bootstrap. Returns the summary: shares rounded to 6 digits, `gain` with its 95 % interval
    `lo` to `hi`, `n` the questions both arms have a verdict on. Raises UserError when the arms' scores do not join.
    """
    rows = read_table(data / "selected/eval.parquet").to_dict("records")
    scores = same_golds({arm: joined(rows, data / f"scores/{arm}.jsonl") for arm in ARMS})
    generations = {arm: joined(rows, data / f"generations/{arm}.jsonl") for arm in ARMS}
    judgements = {arm: read_json(data / f"judgements/{arm}/metrics.json") for arm in ARMS}
    judged = all(judgement["enabled"] for judgement in judgements.values())

    details = {arm: describe(rows, scores[arm], generations[arm]) for arm in ARMS}
    compared = compare_arms(rows, scores, resamples=resamples, seed=seed)
    summary = {
        "ex": {
            **{SHORT[arm]: details[arm]["ex"] for arm in ARMS},
            **{key: rounded(compared[key]) for key in ("gain", "lo", "hi")},
        },
        "em": {SHORT[arm]: details[arm]["em_ast"] for arm in ARMS},
        "format": {SHORT[arm]: details[arm]["format_valid"] for arm in ARMS},
        **({"judge": judge_summary(judgements)} if judged else {}),
        "n": compared["n"],
    }
    power = summarize(list(read_jsonl(data / "databases/rows.jsonl")))
    accounted = account(data)
    training = read_json(metrics / "train/prompt_tokens.json")
    places = {"training": read_json(metrics / "train/summary.json").get("machine"), "report": machine(cores())}
    items = arm_items(rows, read_databases(data / "databases"), read_unusable(data / "databases"), generations["base"])
    verdicts = {arm: joined(rows, data / f"judgements/{arm}.jsonl") for arm in ARMS} if judged else {}

    for arm in ARMS:
        write_json(metrics / f"{arm}.json", details[arm] | ({"judge": judgements[arm]} if judged else {}))
    write_json(metrics / "comparison.json", compared | {"power": power, **versions(), "machine": places})
    write_json(metrics / "data.json", accounted)
    lengths = {"train": training["tokens"], "eval": [row["prompt_tokens"] for row in generations["base"]]}
    plots = {
        **plot_rows(accounted),
        **outcome_plots(details, judgements if judged else {}),
        "lengths.tsv": length_rows(lengths, training["limit"]),
        "loss.tsv": loss_rows(metrics / "train"),
        "sizes.tsv": size_rows(details, count_rows(data / "selected/train.parquet")),
    }
    for name, plot in plots.items():
        write_tsv(metrics / "plots" / name, [{key: harmless(value) for key, value in row.items()} for row in plot])
    write_explorer(metrics / "explorer.html", rows, [item.question for item in items], scores, generations, verdicts)
    write_json(metrics / "summary.json", summary)
    return summary


def joined(rows: Sequence[Mapping], path: Path) -> list[dict]:
    """The rows of a later file in the order of the evaluation table. Raises UserError unless there is one for each."""
    later = list(read_jsonl(path))
    found = {row["id"]: row for row in later}
    if len(later) != len(rows) or found.keys() != {row["id"] for row in rows}:
        raise UserError(f"{path}: holds {len(later)} rows for {len(rows)} questions, or others; run `dvc repro`")
    return [found[row["id"]] for row in rows]


def same_golds(scores: Mapping[str, Sequence[dict]]) -> dict[str, list[dict]]:
    """The scores by arm, a gold that failed in one arm (near its time limit it may) failed in both.

    So both arms' figures are of the same questions.
    """
    failed = {score["id"]: score for arm in scores.values() for score in arm if score["ex"] is None}
    return {
        arm: [failed[score["id"]] | {"sql": score["sql"]} if score["id"] in failed else score for score in listed]
        for arm, listed in scores.items()
    }


def describe(rows: Sequence[Mapping], scores: Sequence[Mapping], generations: Sequence[Mapping]) -> dict[str, Any]:
    """One arm in detail: shares over the questions with a verdict, counts by outcome, and EX by label with its n.

    `ex` is SQL skill, whatever stands around the statement; `ex_raw` counts a text only when it is right as it is.
    `questions` is what a paired comparison with any other run needs: for each id its db_id and its verdict.
    """
    scored = [score for score in scores if score["ex"] is not None]
    if not scored:
        raise UserError("no evaluation question has a usable gold; see data/scores/base.jsonl for the reasons")
    low, high = stats.wilson(sum(score["ex"] for score in scored), len(scored))
    outcomes = Counter(score["outcome"] for score in scores)
    assert outcomes.total() == len(rows) and set(outcomes) <= set(OUTCOMES)
    finished = Counter(generation["finish_reason"] for generation in generations)
    return {
        "n": len(scored),
        **{rate: rounded(mean(score[rate] for score in scored)) for rate in RATES},
        "ex_raw": rounded(mean(score["ex"] and score["format_valid"] for score in scored)),
        "ex_lo": rounded(low),
        "ex_hi": rounded(high),
        "vacuous": sum(score["vacuous"] for score in scored),
        "ambiguous_gold": sum(score["ambiguous_gold"] for score in scored),
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


def compare_arms(
    rows: Sequence[Mapping], scores: Mapping[str, Sequence[Mapping]], *, resamples: int, seed: int
) -> dict[str, Any]:
    """The paired comparison: gain with its interval, exact McNemar p, ids won and lost, and the golds left out."""
    both = [
        (row, base, finetuned)
        for row, base, finetuned in zip(rows, scores["base"], scores["finetuned"], strict=True)
        if base["ex"] is not None
    ]
    ids = [row["id"] for row, _, _ in both]
    before, after = [base["ex"] for _, base, _ in both], [finetuned["ex"] for _, _, finetuned in both]
    databases = [row["db_id"] for row, _, _ in both]
    gain = stats.paired_gain(before, after, databases, resamples=resamples, seed=seed)
    flipped = stats.flips(ids, before, after)
    return {
        "n": len(ids),
        "databases": len(set(databases)),
        **gain,
        "detectable": not gain["lo"] <= 0 <= gain["hi"],
        "mcnemar_p": stats.mcnemar(before, after),
        "both_right": sum(b and f for b, f in zip(before, after, strict=True)),
        "both_wrong": sum(not b and not f for b, f in zip(before, after, strict=True)),
        "won": flipped["won"],
        "lost": flipped["lost"],
        "gold_errors": {
            row["id"]: score["error"] for row, score in zip(rows, scores["base"], strict=True) if score["ex"] is None
        },
    }


def judge_summary(judgements: Mapping[str, Mapping]) -> dict[str, float | None]:
    """Accuracy by the judge for both arms, and its kappa with execution on the fine-tuned arm."""
    return {
        **{SHORT[arm]: rounded(judgements[arm]["accuracy"]) for arm in ARMS},
        "kappa": rounded(judgements["finetuned"]["kappa"]),
    }


def harmless(value: Any) -> Any:
    """A value without `<`: DVC writes plots into a script of its page, and a label with `</script>` would end it."""
    return value.replace("<", "‹") if isinstance(value, str) else value


def versions() -> dict[str, Any]:
    """What the verdicts depend on beside the data."""
    import sqlglot

    return {"policy_version": POLICY_VERSION, "sqlite": sqlite3.sqlite_version, "sqlglot": sqlglot.__version__}
