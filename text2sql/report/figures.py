"""The figures of a run: each arm in detail, and the arms compared."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import sqlglot

from text2sql.base.arms import Kind, of_kind
from text2sql.base.errors import UserError
from text2sql.report.coverage import describe_samples
from text2sql.report.numbers import mean, rounded
from text2sql.scoring import stats
from text2sql.scoring.conclusions import ENOUGH, changed, conclude
from text2sql.scoring.forms import Answered, compare_texts
from text2sql.scoring.metrics import FLAGS, METRICS
from text2sql.scoring.policy import OUTCOMES, POLICY_VERSION

LABELS = ("complexity", "domain", "language")


def describe(
    rows: Sequence[Mapping], databases: Sequence[str], scores: Sequence[Mapping], generations: Sequence[Mapping]
) -> dict[str, Any]:
    """One arm in detail: shares over the questions with a verdict, counts by outcome, and EX by label with its n.

    `ex` is SQL skill, whatever stands around the statement; `ex_raw` counts a text only when it is right as it is.
    `questions` is what a paired comparison with any other run needs: for each id its database and its verdict.
    databases: of each row, by `clusters.databases_of`.
    """
    scored = [score for score in scores if score["ex"] is not None]
    if not scored:
        raise UserError("no evaluation question has a usable gold; see data/scores/ for the reasons")
    low, high = stats.wilson(sum(score["ex"] for score in scored), len(scored))
    outcomes = Counter(score["outcome"] for score in scores)
    assert outcomes.total() == len(rows) and set(outcomes) <= set(OUTCOMES)
    finished = Counter(generation["finish_reason"] for generation in generations)
    costs = [generation["cost_usd"] for generation in generations if "cost_usd" in generation]
    return {
        "n": len(scored),
        **{metric: rounded(mean(score[metric] for score in scored)) for metric in METRICS},
        "ex_raw": rounded(mean(score["ex"] and score["format_valid"] for score in scored)),
        "ex_lo": rounded(low),
        "ex_hi": rounded(high),
        **{flag: sum(score[flag] for score in scored) for flag in FLAGS},
        "outcomes": {outcome: outcomes[outcome] for outcome in OUTCOMES},
        "finish_reasons": dict(sorted(finished.items())),
        "prompt_tokens": sum(generation["prompt_tokens"] * len(answers_of(generation)) for generation in generations),
        "completion_tokens": sum(
            answer["completion_tokens"] for generation in generations for answer in answers_of(generation)
        ),
        **({"cost_usd": rounded(sum(costs))} if len(costs) == len(generations) else {}),
        **({"samples": describe_samples(scored)} if "samples" in scored[0] else {}),
        **{f"by_{label}": by_label(rows, scores, label) for label in LABELS},
        "policy_version": POLICY_VERSION,
        "questions": {
            row["id"]: [database, score["ex"]] for row, database, score in zip(rows, databases, scores, strict=True)
        },
    }


def answers_of(generation: Mapping) -> list[Mapping]:
    """The candidates of a generation, the greedy answer first."""
    return [generation, *generation.get("samples", ())]


def chosen_answer(generation: Mapping, score: Mapping) -> Mapping:
    """A generation with the answer that was scored."""
    return {**generation, **answers_of(generation)[score.get("chosen") or 0]}


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
    rows: Sequence[Mapping],
    databases: Sequence[str],
    scores: Mapping[str, Sequence[Mapping]],
    kinds: Mapping[str, Kind],
    zero_shot: str,
) -> dict[str, Any]:
    """The paired comparison of the arms.

    The headline: what the first trained arm, `arm`, brought over the best untrained one, `over`, with all that belongs
    to that gain (`stats.figures`), what may be concluded of it, and the ids won and lost. Beside it the same gain over
    `zero_shot` (None where that is the best), every pair of arms, and the golds left out.

    databases: of each row, by `clusters.databases_of`. scores: of every arm, with the same golds failed. kinds: of each
    arm. zero_shot: the untrained arm with the fewest examples.
    """
    any_arm = next(iter(scores.values()))
    usable = [place for place, score in enumerate(any_arm) if score["ex"] is not None]
    verdicts = {arm: [scored[place]["ex"] for place in usable] for arm, scored in scores.items()}
    ids, databases = [rows[place]["id"] for place in usable], [databases[place] for place in usable]

    untrained, arm = of_kind(kinds, "untrained"), of_kind(kinds, "trained")[0]
    over = max(untrained, key=lambda name: sum(verdicts[name]))
    gain = stats.estimate_gain([verdicts[over]], [verdicts[arm]], databases)
    from_zero = stats.estimate_gain([verdicts[zero_shot]], [verdicts[arm]], databases)
    flipped = stats.flips(ids, verdicts[over], verdicts[arm])
    both = list(zip(verdicts[over], verdicts[arm], strict=True))
    return {
        "kinds": dict(kinds),
        "arm": arm,
        "over": over,
        **stats.figures(gain),
        "conclusion": conclude(gain, arm=arm, over=over, among=len(untrained))._asdict(),
        "both_right": sum(one and other for one, other in both),
        "both_wrong": sum(not one and not other for one, other in both),
        "won": flipped["won"],
        "lost": flipped["lost"],
        "zero_shot": None if zero_shot == over else {"over": zero_shot, **stats.figures(from_zero)},
        "pairs": [
            {
                "arm": second,
                "over": first,
                **{key: stats.figures(pair)[key] for key in ("gain", "lo", "hi")},
                "p": pair.headline.p,
                **{key: len(found) for key, found in stats.flips(ids, verdicts[first], verdicts[second]).items()},
            }
            for first, second in combinations(scores, 2)
            for pair in [stats.estimate_gain([verdicts[first]], [verdicts[second]], databases)]
        ],
        "gold_errors": {
            row["id"]: score["error"] for row, score in zip(rows, any_arm, strict=True) if score["ex"] is None
        },
    }


def compare_forms(
    rows: Sequence[Mapping],
    databases: Sequence[str],
    scores: Mapping[str, Sequence[Mapping]],
    generations: Mapping[str, Sequence[Mapping]],
    forms: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Each arm that should answer as another does (`arms.forms`) beside that one: how many texts and verdicts changed,
    whether the two are equal within ENOUGH, and the sentence that says so (`says`)."""
    about = {row["id"]: database for row, database in zip(rows, databases, strict=True)}

    def answered(arm: str) -> dict[str, Answered]:
        both = zip(generations[arm], scores[arm], strict=True)
        return {
            score["id"]: Answered(chosen_answer(generation, score)["text"], score["ex"]) for generation, score in both
        }

    found = []
    for arm, over in forms.items():
        what = compare_texts(answered(over), answered(arm), about, ENOUGH)
        equivalence = what.equivalence and what.equivalence._asdict()
        figures = what._asdict() | {"equivalence": equivalence}
        found.append({"arm": arm, "over": over, **figures, "says": changed(what, arm=arm, over=over)})
    return found


def summary_of(details: Mapping[str, Mapping], compared: Mapping, judgements: Mapping[str, Mapping]) -> dict[str, Any]:
    """The figures of metrics/summary.json. judgements: of every arm; none where the judge is off."""
    return {
        "ex": {
            **{arm: detail["ex"] for arm, detail in details.items()},
            "over": compared["over"],
            **{key: rounded(compared[key]) for key in ("gain", "lo", "hi")},
        },
        "em": {arm: detail["em_ast"] for arm, detail in details.items()},
        "format": {arm: detail["format_valid"] for arm, detail in details.items()},
        **({"judge": judge_summary(judgements, compared["arm"])} if judgements else {}),
        "n": compared["n"],
    }


def judge_summary(judgements: Mapping[str, Mapping], arm: str) -> dict[str, float | None]:
    """Accuracy by the judge for every arm, and its kappa with execution on the headline's, `arm`."""
    return {
        **{name: rounded(judgement["accuracy"]) for name, judgement in judgements.items()},
        "kappa": rounded(judgements[arm]["kappa"]),
    }


def by_engine(scores: Sequence[Mapping]) -> dict[str, int]:
    """How many questions each engine gave the verdicts on, golds that failed there included."""
    return dict(sorted(Counter(score["engine"] for score in scores).items()))


def versions(scores: Sequence[Mapping]) -> dict[str, Any]:
    """What the verdicts depend on beside the data. scores: of all arms."""
    found: dict[str, set[str]] = {}
    for score in scores:
        found.setdefault(score["engine"].partition(" ")[0], set()).add(score["engine_version"])
    return {
        "policy_version": POLICY_VERSION,
        "sqlite": sqlite3.sqlite_version,
        "sqlglot": sqlglot.__version__,
        "engine_versions": {name: ", ".join(sorted(found[name])) for name in sorted(found)},
    }
