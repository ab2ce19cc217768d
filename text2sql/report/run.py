"""Joins what the stages measured, by id, into the files that git keeps: metrics/summary.json and what explains it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from text2sql.base.arms import forms, kinds, of_kind
from text2sql.base.errors import UserError
from text2sql.base.files import read_json, read_jsonl, write_json
from text2sql.base.machine import machine
from text2sql.base.params import ArmParams
from text2sql.databases.populate import summarize
from text2sql.dataset.account import account
from text2sql.dataset.clusters import databases_of
from text2sql.dataset.parts import places_by_part
from text2sql.dataset.rows import count_rows, read_rows
from text2sql.engines.pool import cores
from text2sql.judge.measures import metrics_of
from text2sql.report.coverage import coverage_rows
from text2sql.report.explorer import write_explorer
from text2sql.report.figures import (
    by_engine,
    chosen_answer,
    compare_arms,
    compare_forms,
    describe,
    summary_of,
    versions,
)
from text2sql.report.plots import length_rows, loss_rows, outcome_plots, plot_rows, size_rows, write_plot


def report(data: Path, metrics: Path, arms: Mapping[str, ArmParams]) -> dict[str, Any]:
    """Writes summary.json, comparison.json, data.json, arms/ARM.json, plots/ and explorer.html into `metrics`.

    Returns the summary: shares rounded to 6 digits, `gain` of the headline's arm over the untrained one `over` with the
    95 % interval `lo` to `hi` (docs/statistics.md), `n` the questions that all arms have a verdict on. All of it, plots
    and explorer too, is about the test part; where the evaluation has a tuning part, the same figures of that stand
    under `tuning` in the summary, the comparison and each arm. Raises UserError when the arms' scores do not join, and
    where files of an arm stand that is not listed.
    """
    check_left(data, arms)
    rows = read_rows(data / "selected/eval.parquet")
    scores = same_golds({arm: joined(rows, data / f"scores/{arm}.jsonl") for arm in arms})
    results = {arm: joined(rows, data / f"results/{arm}.jsonl") for arm in arms}
    generations = {arm: joined(rows, data / f"generations/{arm}.jsonl") for arm in arms}
    judgements = {arm: read_json(data / f"judgements/{arm}/metrics.json") for arm in arms}
    judged = all(judgement["enabled"] for judgement in judgements.values())
    all_scores = [score for listed in scores.values() for score in listed]
    verdicts = {arm: joined(rows, data / f"judgements/{arm}.jsonl") for arm in arms} if judged else {}

    databases = databases_of(rows)
    parts = places_by_part(rows, read_json(data / "selection.json"))
    measured = {}
    for part, places in parts.items():
        scored, texts, opinions = (arms_at(places, listed) for listed in (scores, generations, verdicts))
        opinion = judgements if judged else {}
        if len(parts) > 1:  # the judge's own figures are of both
            opinion = {
                arm: metrics_of(opinion[arm], opinions[arm], [row["ex"] for row in scored[arm]]) for arm in opinion
            }
        measured[part] = measure(at(places, rows), at(places, databases), scored, texts, opinion, arms)
    details, compared, summary = measured["test"]
    if "tuning" in measured:
        tuning = measured["tuning"]
        details = {arm: detail | {"tuning": tuning.details[arm]} for arm, detail in details.items()}
        compared, summary = compared | {"tuning": tuning.compared}, summary | {"tuning": tuning.summary}

    rows = at(parts["test"], rows)
    scores, results, generations, verdicts = (
        arms_at(parts["test"], listed) for listed in (scores, results, generations, verdicts)
    )
    ids = {row["id"] for row in rows}
    power = summarize([row for row in read_jsonl(data / "databases/rows.jsonl") if row["id"] in ids])
    accounted = account(data)
    training = read_json(metrics / "train/prompt_tokens.json")
    machines = {"training": read_json(metrics / "train/summary.json").get("machine"), "report": machine(cores())}

    for arm in arms:
        write_json(metrics / f"arms/{arm}.json", details[arm])
    write_json(
        metrics / "comparison.json",
        compared
        | {"power": power, "engines": by_engine(scores[compared["arm"]]), **versions(all_scores), "machine": machines},
    )
    write_json(metrics / "data.json", accounted)
    lengths = {"train": training["tokens"]}
    lengths |= {arm: [row["prompt_tokens"] for row in generations[arm]] for arm in arms}
    plots = {
        **plot_rows(accounted),
        **outcome_plots(details, {arm: details[arm]["judge"] for arm in arms} if judged else {}),
        "coverage.tsv": coverage_rows(details),
        "lengths.tsv": length_rows(lengths, training["limit"]),
        "loss.tsv": loss_rows(metrics / "train"),
        "sizes.tsv": size_rows(details, count_rows(data / "selected/train.parquet")),
    }
    for name, plot in plots.items():
        write_plot(metrics / "plots" / name, plot)
    conclusion = " ".join([compared["conclusion"]["claim"], *compared["conclusion"]["limits"]])
    pair = compared["over"], compared["arm"]
    shown = {arm: list(map(chosen_answer, generations[arm], scores[arm])) for arm in arms}
    write_explorer(metrics / "explorer.html", rows, scores, results, shown, verdicts, pair, conclusion)
    write_json(metrics / "summary.json", summary)
    return summary


class Measured(NamedTuple):
    """The figures of one part: metrics/arms/ARM.json of every arm, metrics/comparison.json, metrics/summary.json."""

    details: dict[str, dict[str, Any]]
    compared: dict[str, Any]
    summary: dict[str, Any]


def measure(
    rows: Sequence[Mapping],
    databases: Sequence[str],
    scores: Mapping[str, Sequence[Mapping]],
    generations: Mapping[str, Sequence[Mapping]],
    judgements: Mapping[str, Mapping],
    arms: Mapping[str, ArmParams],
) -> Measured:
    """The figures of these rows. scores, generations: of every arm, in the rows' order; judgements: of every arm, or
    none."""
    fewest = min(of_kind(kinds(arms), "untrained"), key=lambda arm: arms[arm].shots)
    details = {arm: describe(rows, databases, scores[arm], generations[arm]) for arm in arms}
    compared = compare_arms(rows, databases, scores, kinds(arms), fewest)
    if equal := compare_forms(rows, databases, scores, generations, forms(arms)):
        compared["forms"] = equal
    summary = summary_of(details, compared, judgements)
    return Measured(
        {arm: detail | ({"judge": judgements[arm]} if judgements else {}) for arm, detail in details.items()},
        compared,
        summary,
    )


def at(places: Sequence[int], listed: Sequence) -> list:
    """The items at these places."""
    return [listed[place] for place in places]


def arms_at(places: Sequence[int], by_arm: Mapping[str, Sequence]) -> dict[str, list]:
    """Of every arm the items at these places."""
    return {arm: at(places, listed) for arm, listed in by_arm.items()}


def check_left(data: Path, arms: Mapping[str, ArmParams]) -> None:
    """Raises UserError for files of an arm that the list no longer has: DVC would take them for inputs of the report,
    which a clone could not fetch. `dvc exp run -S '~arms.NAME'` removes them, an edit of the list does not."""
    kinds = ("generations", "judgements", "results", "scores")
    for path in sorted(path for kind in kinds for path in (data / kind).glob("[!.]*.jsonl")):
        if path.stem not in arms:
            raise UserError(
                f"{path}: of an arm that params.yaml does not list; delete what is left of it"
                f" (rm -r {data}/*/{path.stem} {data}/*/{path.stem}.jsonl), or list it again"
            )


def joined(rows: Sequence[Mapping], path: Path) -> list[dict]:
    """The rows of a later file in the order of the evaluation table. Raises UserError unless there is one for each."""
    later = list(read_jsonl(path))
    found = {row["id"]: row for row in later}
    if len(later) != len(rows) or found.keys() != {row["id"] for row in rows}:
        raise UserError(f"{path}: holds {len(later)} rows for {len(rows)} questions, or others; run `dvc repro`")
    return [found[row["id"]] for row in rows]


def same_golds(scores: Mapping[str, Sequence[dict]]) -> dict[str, list[dict]]:
    """The scores by arm, a gold that failed in one arm (near its time limit it may) failed in all.

    So all arms' figures are of the same questions.
    """
    failed = {score["id"]: score for arm in scores.values() for score in arm if score["ex"] is None}
    return {
        arm: [failed[score["id"]] | {"sql": score["sql"]} if score["id"] in failed else score for score in listed]
        for arm, listed in scores.items()
    }
