"""Two runs on the same questions, paired."""

import json
from collections.abc import Mapping
from typing import Any

from text2sql.base.arms import SHORT
from text2sql.base.errors import UserError
from text2sql.base.text import printable
from text2sql.experiments.differences import cause, differences, elsewhere, same_scores, same_texts
from text2sql.experiments.git import read_objects
from text2sql.experiments.runs import Run, checksum, require_figures
from text2sql.scoring import stats

EVALUATION = "data/selected/eval.parquet"


def arm_details(run: Run, arm: str = "finetuned") -> dict[str, Any]:
    """The details of one arm, metrics/ARM.json.

    Raises UserError when the commit holds none, or one of before it listed its questions, or one that gives another
    EX than the summary or than its own verdicts.
    """
    (text,) = read_objects([f"{run.revision}:./metrics/{arm}.json"])
    name = f"{printable(run.name)}: metrics/{arm}.json"
    again = "run `dvc repro report` and commit"
    try:
        details = json.loads(text or b"{}")
    except ValueError as error:
        raise UserError(f"{name} is not valid JSON ({error})") from error
    if "questions" not in details:
        raise UserError(f"{name} lists no questions; {again}")
    if details["ex"] != figure(run, f"ex.{SHORT[arm]}"):
        raise UserError(f"{name} and metrics/summary.json do not give the same EX; {again}")
    verdicts = [verdict for _, verdict in details["questions"].values() if verdict is not None]
    if abs(sum(verdicts) / max(len(verdicts), 1) - details["ex"]) > 1e-6:  # metrics hold six digits
        raise UserError(f"{name}: EX is not the share of its right answers; {again}")
    return details


def figure(run: Run, key: str) -> float:
    """A figure of a run's summary. Raises UserError where it has none of this name."""
    if key not in run.summary:
        problem = f"metrics/summary.json holds no {key}; run `dvc repro report` and commit"
        raise UserError(f"{printable(run.name)}: {problem}")
    return run.summary[key]


def load_comparable(before: Run, after: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """The details of both runs' fine-tuned arms.

    Raises UserError where their verdicts follow different rules, so that no figure of theirs compares, and where the
    same scores have different figures.
    """
    one, other = arm_details(before), arm_details(after)
    if one["policy_version"] != other["policy_version"]:
        names = f"{printable(before.name)} and {printable(after.name)}"
        versions = f"{one['policy_version']} and {other['policy_version']}"
        raise UserError(f"{names} were scored under policy versions {versions}; run the older one again")
    if one["questions"] != other["questions"] and same_scores(before, after):
        names = f"{printable(before.name)} and {printable(after.name)}"
        raise UserError(f"{names} have other verdicts and were made from the same scores; one was edited: run it again")
    return one, other


def paired(before: Run, after: Run, *, common: bool = False) -> dict[str, Any]:
    """The fine-tuned arms of two runs on the same questions: gain with its interval over whole databases, exact
    McNemar p, ids won and lost, and how many questions were left out for want of a verdict in both; in what the runs
    differ, and what of that speaks against training as the cause.

    common: compare the questions that both answered, where they answered different ones. Raises UserError when the
    runs did not answer the same questions, or were scored under different policies.
    """
    require_figures(before)
    require_figures(after)
    one, other = load_comparable(before, after)
    names = f"{printable(before.name)} and {printable(after.name)}"
    shared = [key for key in one["questions"] if key in other["questions"]]
    different = checksum(before, EVALUATION) != checksum(after, EVALUATION)
    if different or len(shared) != len(one["questions"]) or len(shared) != len(other["questions"]):
        counts = f"{len(one['questions'])} and {len(other['questions'])}"
        if not common:
            raise UserError(
                f"{names} answered different evaluation questions ({counts}); --common compares those of both"
            )
        if checksum(before, "data/raw") != checksum(after, "data/raw"):
            raise UserError(f"{names} come from different data, where the same id is not the same question")
    scored = [key for key in shared if one["questions"][key][1] is not None and other["questions"][key][1] is not None]
    if not scored:
        raise UserError(f"{names} have no question in common that both have a verdict on")
    left, right = ([details["questions"][key][1] for key in scored] for details in (one, other))
    databases = [one["questions"][key][0] for key in scored]
    gain = stats.paired_gain(left, right, databases, seed=0)
    flipped = stats.flips(scored, left, right)
    found = differences(before, after)
    return {
        "before": before.name,
        "after": after.name,
        "n": len(scored),
        "databases": len(set(databases)),
        "ex_before": sum(left) / len(scored),
        "ex_after": sum(right) / len(scored),
        **gain,
        "detectable": not gain["lo"] <= 0 <= gain["hi"],
        "mcnemar_p": stats.mcnemar(left, right),
        **flipped,
        "left_out": len(one["questions"].keys() | other["questions"].keys()) - len(scored),
        "differences": found,
        "same_texts": same_texts(before, after),
        "cause": cause(before, after, found) if flipped["won"] or flipped["lost"] else "",
        "elsewhere": elsewhere(found),
        "same_databases": checksum(before, "data/databases") == checksum(after, "data/databases"),
        "database_of": dict(zip(scored, databases, strict=True)),
    }


def verdict(comparison: Mapping) -> str:
    """What a paired comparison says, in one sentence."""
    lo, hi = f"{100 * comparison['lo']:+.1f}", f"{100 * comparison['hi']:+.1f}"
    flips = f"won {len(comparison['won'])}, lost {len(comparison['lost'])}, McNemar p = {comparison['mcnemar_p']:.2g}"
    said = f"{100 * comparison['gain']:+.1f} points (95 % interval {lo} to {hi}; {flips})"
    return said if comparison["detectable"] else f"{said}: no detectable difference, the interval holds 0"
