"""The rows of every plot, and the files that hold them."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from text2sql.base.files import atomic_write
from text2sql.report.numbers import mean, rounded
from text2sql.scoring import stats
from text2sql.scoring.policy import OUTCOMES


def plot_rows(accounted: Mapping) -> dict[str, list[dict]]:
    """The rows of the data plots by file name: domains.tsv, complexities.tsv, funnel.tsv.

    domains: rows of each domain; complexities: the share of each complexity; both for the series read, train, eval.
    funnel: rows left after each step, for the series train and test (as read) and train and eval (as selected).
    """
    series = ("read", "train", "eval")
    domains = [
        {"domain": domain, "series": name, "rows": steps[name]}
        for domain, steps in accounted["domain"].items()
        for name in series
    ]
    totals = {name: sum(steps[name] for steps in accounted["complexity"].values()) for name in series}
    complexities = [
        {"complexity": complexity, "series": name, "share": round(steps[name] / max(1, totals[name]), 6)}
        for complexity, steps in accounted["complexity"].items()
        for name in series
    ]
    funnel = [
        {"step": step, "series": split, "rows": rows}
        for part in ("read", "selected")
        for split, steps in accounted[part].items()
        for step, rows in steps.items()
    ]
    return {"domains.tsv": domains, "complexities.tsv": complexities, "funnel.tsv": funnel}


def length_rows(tokens: Mapping[str, Sequence[int]], limit: int, bins: int = 32) -> list[dict]:
    """The histogram of prompt lengths: for each series and bin its lower edge in `tokens`, its `rows`, and the `limit`.

    tokens: the prompts' lengths in tokens by series (train, eval). limit: the longest that the model is trained on.
    """
    longest = max((length for lengths in tokens.values() for length in lengths), default=0)
    width = max(1, -(-max(longest, limit) // bins))
    counted = {name: Counter(length // width for length in lengths) for name, lengths in tokens.items()}
    return [
        {"series": name, "tokens": number * width, "rows": found[number], "limit": limit}
        for name, found in counted.items()
        for number in range(max(longest, limit) // width + 1)
    ]


def write_plot(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows with equal keys as tab-separated values under a header, atomically and without `<`."""
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [], delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: harmless(value) for key, value in row.items()} for row in rows)


def harmless(value: Any) -> Any:
    """A value without `<`: DVC writes plots into a script of its page, and a label with `</script>` would end it."""
    return value.replace("<", "‹") if isinstance(value, str) else value


def outcome_plots(details: Mapping[str, Mapping], judgements: Mapping[str, Mapping]) -> dict[str, list[dict]]:
    """Rows of the result plots by file name, the arms as series.

    arms.tsv: the share right by each instrument, by execution and, where there are judgements, by the judge.
    ex_by_complexity.tsv, ex_by_domain.tsv: EX by label; all with 95 % intervals. outcomes.tsv: rows by outcome that
    any arm has.
    """
    plots: dict[str, list[dict]] = {"arms.tsv": []}
    for arm in details:
        shares = {"execution": {"n": details[arm]["n"], "ex": details[arm]["ex"]}}
        shares["execution"] |= {"lo": details[arm]["ex_lo"], "hi": details[arm]["ex_hi"]}
        if judgements and judgements[arm]["accuracy"] is not None:
            judged = judgements[arm]["n"] - judgements[arm]["judge_error"]
            low, high = stats.wilson(judgements[arm]["correct"], judged)
            shares["judge"] = {"n": judged, "ex": rounded(judgements[arm]["accuracy"])}
            shares["judge"] |= {"lo": rounded(low), "hi": rounded(high)}
        plots["arms.tsv"] += [
            {"instrument": instrument, "series": arm, **share} for instrument, share in shares.items()
        ]
    for label in ("complexity", "domain"):
        plots[f"ex_by_{label}.tsv"] = [
            {label: f"{value} (n = {figures['n']})", "series": arm, **figures}
            for arm in details
            for value, figures in sorted(details[arm][f"by_{label}"].items(), key=lambda item: -item[1]["n"])
        ]
    plots["outcomes.tsv"] = [
        {"outcome": outcome, "series": arm, "rows": details[arm]["outcomes"][outcome]}
        for arm in details
        for outcome in OUTCOMES
        if any(details[any_arm]["outcomes"][outcome] for any_arm in details)
    ]
    return plots


def loss_rows(folder: Path, points: int = 500) -> list[dict]:
    """The loss by step for the series training and held out; training as means of steps in a row, at most `points`."""
    rows = []
    for series, name in (("training", "loss"), ("held out", "eval_loss")):
        with open(folder / f"{name}.tsv", encoding="utf-8") as file:
            curve = [(int(row["step"]), float(row[name])) for row in csv.DictReader(file, delimiter="\t")]
        width = max(1, -(-len(curve) // points))
        for part in (curve[place : place + width] for place in range(0, len(curve), width)):
            rows.append({"series": series, "step": part[-1][0], "loss": rounded(mean(loss for _, loss in part))})
    return rows


def size_rows(details: Mapping[str, Mapping], train_size: int) -> list[dict]:
    """This run's point on the curve of EX by training-set size; `dvc plots diff` over a sweep draws the curve."""
    return [
        {
            "train_size": train_size,
            "series": arm,
            **{name: details[arm][key] for name, key in (("ex", "ex"), ("lo", "ex_lo"), ("hi", "ex_hi"))},
        }
        for arm in details
    ]
