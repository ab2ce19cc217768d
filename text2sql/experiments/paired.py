"""Runs on the same questions, paired, and what may be concluded of them."""

import functools
import json
from collections.abc import Sequence
from typing import Any

from text2sql.base.errors import UserError
from text2sql.base.text import printable
from text2sql.dataset.parts import Part
from text2sql.experiments.differences import cause, differences, elsewhere, same_adapter, same_scores, same_texts
from text2sql.experiments.git import read_objects
from text2sql.experiments.runs import Run, checksum, require_figures, same_questions
from text2sql.scoring import stats
from text2sql.scoring.conclusions import Conclusion, conclude


def arm_details(run: Run, arm: str | None = None, part: Part = "test") -> dict[str, Any]:
    """The details of one arm (None: the headline's) on one part: metrics/arms/ARM.json, up to version 0.2.0
    metrics/ARM.json.

    Raises UserError when the commit holds none, or one of before it listed its questions, or one that gives another
    EX than the summary or than its own verdicts, or one without this part.
    """
    arm = arm or run.arm
    text = arm_file(run.revision, arm)
    name = f"{printable(run.name)}: metrics/arms/{arm}.json"
    again = "run `dvc repro report` and commit"
    try:
        details = json.loads(text or b"{}")
    except ValueError as error:
        raise UserError(f"{name} is not valid JSON ({error})") from error
    if part == "tuning":
        if "tuning" not in details:
            raise UserError(f"{name} has no tuning part; set select.tuning and run again")
        details = details["tuning"]
    if "questions" not in details:
        raise UserError(f"{name} lists no questions; {again}")
    if details["ex"] != figure(run, f"ex.{arm}", part):
        raise UserError(f"{name} and metrics/summary.json do not give the same EX; {again}")
    verdicts = [verdict for _, verdict in details["questions"].values() if verdict is not None]
    if abs(sum(verdicts) / max(len(verdicts), 1) - details["ex"]) > 1e-6:  # metrics hold six digits
        raise UserError(f"{name}: EX is not the share of its right answers; {again}")
    return details


@functools.lru_cache(maxsize=512)
def arm_file(revision: str, arm: str) -> bytes | None:
    """The content of an arm's details in a commit. Several comparisons read the same."""
    found = read_objects([f"{revision}:./metrics/{folder}{arm}.json" for folder in ("arms/", "")])
    return next(filter(None, found), None)


def figure(run: Run, key: str, part: Part = "test") -> float:
    """A figure of a run's summary. Raises UserError where it has none of this name."""
    figures = run.figures(part)
    if key not in figures:
        problem = f"metrics/summary.json holds no {key}; run `dvc repro report` and commit"
        raise UserError(f"{printable(run.name)}: {problem}")
    return figures[key]


def interval_about(run: Run) -> str:
    """What the interval of a run's gain in its summary is about: "databases like these" or "these databases"; "" for a
    run that does not record it."""
    return str(run.comparison.get("headline", "")).replace("_", " ")


def load_comparable(before: Run, after: Run, part: Part = "test") -> tuple[dict[str, Any], dict[str, Any]]:
    """The details of both runs' headline arms on one part.

    Raises UserError where their verdicts follow different rules, so that no figure of theirs compares, and where the
    same scores have different figures.
    """
    one, other = arm_details(before, part=part), arm_details(after, part=part)
    if one["policy_version"] != other["policy_version"]:
        names = f"{printable(before.name)} and {printable(after.name)}"
        versions = f"{one['policy_version']} and {other['policy_version']}"
        raise UserError(f"{names} were scored under policy versions {versions}; run the older one again")
    if one["questions"] != other["questions"] and same_scores(before, after):
        names = f"{printable(before.name)} and {printable(after.name)}"
        raise UserError(f"{names} have other verdicts and were made from the same scores; one was edited: run it again")
    return one, other


def paired(before: Run, after: Run, *, common: bool = False, part: Part = "test") -> dict[str, Any]:
    """The headline's arms of two runs on the same questions of one part: the gain with all that belongs to it
    (`stats.figures`), ids won and lost, and how many questions were left out for want of a verdict in both; in what
    the runs differ, and what of that speaks against training as the cause.

    common: compare the questions that both answered, where they answered different ones. Raises UserError when the
    runs did not answer the same questions, or were scored under different policies.
    """
    require_figures(before)
    require_figures(after)
    one, other = load_comparable(before, after, part)
    names = f"{printable(before.name)} and {printable(after.name)}"
    shared = [key for key in one["questions"] if key in other["questions"]]
    if (
        not same_questions(before, after)
        or len(shared) != len(one["questions"])
        or len(shared) != len(other["questions"])
    ):
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
    gain = stats.estimate_gain([left], [right], databases)
    flipped = stats.flips(scored, left, right)
    found = differences(before, after)
    return {
        "before": before.name,
        "after": after.name,
        **stats.figures(gain),
        "ex_before": sum(left) / len(scored),
        "ex_after": sum(right) / len(scored),
        **flipped,
        "left_out": len(one["questions"].keys() | other["questions"].keys()) - len(scored),
        "differences": found,
        "same_texts": same_texts(before, after),
        "cause": cause(before, after, found) if flipped["won"] or flipped["lost"] else "",
        "elsewhere": elsewhere(found),
        "same_databases": checksum(before, "data/databases") == checksum(after, "data/databases"),
        "database_of": dict(zip(scored, databases, strict=True)),
    }


def estimate_between(
    before: Sequence[Run],
    after: Sequence[Run],
    arms: tuple[str | None, str | None] = (None, None),
    part: Part = "test",
) -> stats.PairedGain:
    """The gain of `after` over `before`, each one run or several seeds of one recipe, by these arms (None: the runs'
    headline's), on the questions of one part on which all have a verdict. What `paired` refuses is not looked for here.

    Raises UserError where there is no such question, and from `arm_details`.
    """
    sides = [
        [arm_details(run, arm, part)["questions"] for run in runs]
        for runs, arm in zip((before, after), arms, strict=True)
    ]
    first, *others = [questions for side in sides for questions in side]
    scored = [key for key, (_, verdict) in first.items() if verdict is not None]
    for questions in others:
        scored = [key for key in scored if key in questions and questions[key][1] is not None]
    if not scored:
        names = " and ".join(printable(run.name) for run in (*before, *after))
        raise UserError(f"{names} have no question in common that all have a verdict on")
    left, right = ([[questions[key][1] for key in scored] for questions in side] for side in sides)
    return stats.estimate_gain(left, right, [first[key][0] for key in scored])


def conclude_between(
    before: Sequence[Run],
    after: Sequence[Run],
    gain: stats.PairedGain,
    *,
    names: tuple[str, str],
    compared: int = 1,
    holm_p: float | None = None,
) -> Conclusion:
    """What may be concluded of two recipes, of which `gain` is the second's over the first.

    names: of both as the sentence shall print them. Where both hold the same adapter, or wrote the same texts, no
    training lies between them.
    """
    untrained = same_adapter(before[0], after[0]) or same_texts(before[0], after[0])
    return conclude(
        gain, arm=names[1], over=names[0], trainings=0 if untrained else 2, compared=compared, holm_p=holm_p
    )
