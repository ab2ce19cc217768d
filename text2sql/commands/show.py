"""Print the result of the last run: every arm, the gain, what was trained, and how long each stage took.

python -m text2sql show
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.base.stage import TIMINGS
from text2sql.base.text import in_lines
from text2sql.scoring.conclusions import points

NAME = 20  # characters of an arm's name in a line, so that every table fits on 80 columns


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metrics", type=Path, default=Path("metrics"), help="folder of figures (default: metrics)")


def run(args: argparse.Namespace) -> int:
    comparison = read_json(args.metrics / "comparison.json")
    if "kinds" not in comparison:
        raise UserError(f"{args.metrics}/comparison.json: of an earlier version; run `dvc repro report`")
    details = {arm: read_json(args.metrics / f"arms/{arm}.json") for arm in comparison["kinds"]}
    timings = [read_json(path) for path in sorted(TIMINGS.glob("*.json"))]
    training = args.metrics / "train/summary.json"
    console = Console(highlight=False)
    if (args.metrics / "data.json").exists():
        console.print(data_line(read_json(args.metrics / "data.json")))
    console.print(result_table(details, comparison))
    console.print(verdict(comparison), highlight=False)
    if line := harsh(details):
        console.print(line)
    if len(details) > 2:
        console.print(pair_table(comparison))
    if any("cost_usd" in detail for detail in details.values()):
        console.print(cost_table(details))
    for arm, detail in details.items():
        if "samples" in detail:
            console.print(coverage_table(arm, detail["samples"]))
            console.print(samples_lines(arm, detail))
    if training.exists():  # DVC keeps it, git does not: a clone before `dvc pull` has none
        console.print(training_line(read_json(training)))
    if timings:
        console.print(timing_table(timings))
    if (args.metrics / "explorer.html").exists():
        console.print(f"every question: {args.metrics / 'explorer.html'}; plots: python -m text2sql plots")
    return 0


def data_line(accounted: dict) -> str:
    """What became of the rows, in words: how many train, how many of those held out are asked, what leaked.

    accounted: metrics/data.json; the last step of `read` is what every rule left."""
    read, selected = accounted["read"].values(), accounted["selected"]
    held_out, asked = selected["eval"]["available"], selected["eval"]["selected"]
    of_all = "" if asked == held_out else f" of {held_out:,} held out"
    valid = sum(list(steps.values())[-1] for steps in read)
    parts = [
        f"data: {sum(steps['read'] for steps in read):,} rows read, {valid:,} valid",
        f"{selected['train']['selected']:,} train",
        f"{asked:,}{of_all} evaluate",
        f"{accounted['leaks']['removed']:,} removed from training as leaks",
    ]
    return ", ".join(parts) + " (python -m text2sql data)"


def result_table(details: dict, comparison: dict) -> Table:
    """The arms side by side: shares with the 95 % interval of execution accuracy."""
    table = Table(title=f"Execution accuracy (EX), {questions(comparison)}")
    table.add_column("", no_wrap=True)
    for name in ("EX", "95 % interval", "exact\nmatch", "valid\nformat", "vacuous"):
        table.add_column(name, justify="right", no_wrap=True)
    for arm, detail in details.items():
        table.add_row(
            in_lines(arm, NAME),
            percent(detail["ex"]),
            f"{percent(detail['ex_lo'])} – {percent(detail['ex_hi'])}",
            percent(detail["em_ast"]),
            percent(detail["format_valid"]),
            str(detail["outcomes"]["vacuous_match"]),
        )
    return table


def pair_table(comparison: dict) -> Table:
    """Every arm over every one before it: the gain in points, with its 95 % interval."""
    table = Table(title="Gain in points")
    for name in ("", "over"):
        table.add_column(name, no_wrap=True)
    for name in ("gain", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in sorted(comparison["pairs"], key=lambda pair: list(comparison["kinds"]).index(pair["arm"])):
        interval = f"{points(pair['lo'])} to {points(pair['hi'])}"
        table.add_row(in_lines(pair["arm"], NAME), in_lines(pair["over"], NAME), points(pair["gain"]), interval)
    return table


def cost_table(details: dict) -> Table:
    """What each arm's answers took in tokens, and cost where a price is known."""
    table = Table(title="Cost of the answers to all questions")
    table.add_column("", no_wrap=True)
    for name in ("prompt tokens", "answer tokens", "US dollars"):
        table.add_column(name, justify="right")
    for arm, detail in details.items():
        cost = f"{detail['cost_usd']:.4f}" if "cost_usd" in detail else ""
        table.add_row(in_lines(arm, NAME), f"{detail['prompt_tokens']:,}", f"{detail['completion_tokens']:,}", cost)
    return table


def coverage_table(arm: str, samples: dict) -> Table:
    """How right the answers of an arm with samples are, by how many of its candidates agree."""
    table = Table(title=f"{arm}: answers on which so many of {samples['n']} candidates agree")
    for name in ("at least", "questions", "coverage", "EX", "95 % interval"):
        table.add_column(name, justify="right")
    suggested = samples["threshold"] and samples["threshold"]["agreed"]
    for point in samples["curve"]:
        mark = "→ " if point["agreed"] == suggested else ""
        interval = f"{percent(point['lo'])} – {percent(point['hi'])}"
        cells = str(point["n"]), percent(point["coverage"]), percent(point["ex"]), interval
        table.add_row(f"{mark}{point['agreed']}", *cells)
    return table


def samples_lines(arm: str, detail: dict) -> str:
    """What the choice among an arm's candidates brought, and from which agreement on its answers are to be believed."""
    samples, threshold = detail["samples"], detail["samples"]["threshold"]
    line = (
        f"{arm}: {percent(detail['ex'])} by choice, {percent(samples['ex_greedy'])} greedy,"
        f" {percent(samples['oracle'])} with a right one among {samples['n']} (oracle)"
    )
    if threshold is None:
        return f"{line}\nno agreement makes its answers more likely right than wrong: `ask` calls all of them unsure"
    return f"{line}\nbelow {threshold['agreed']} of {samples['n']} `ask` calls an answer unsure (docs/arms.md)"


def questions(comparison: dict) -> str:
    """What was compared: so many questions about so many databases."""
    database = "1 database" if comparison["databases"] == 1 else f"{comparison['databases']} databases"
    return f"{comparison['n']} questions about {database}"


def verdict(comparison: dict) -> str:
    """What may be concluded of the comparison, and what was left out of it."""
    lines = [comparison["conclusion"]["claim"], *comparison["conclusion"]["limits"]]
    if tuning := comparison.get("tuning"):
        gain = f"{points(tuning['gain'])} points over {tuning['over']}"
        lines.append(f"All of this is the test part; on the tuning part ({questions(tuning)}) the gain is {gain}.")
    lines += [form["says"] for form in comparison.get("forms", ())]
    if zero := comparison["zero_shot"]:
        interval = f"95 % interval {points(zero['lo'])} to {points(zero['hi'])}"
        lines.append(f"Over {zero['over']}, without examples, it is {points(zero['gain'])} points ({interval}).")
    if comparison["gold_errors"]:
        lines.append(f"{len(comparison['gold_errors'])} questions left out: no usable gold (metrics/comparison.json)")
    if line := engines(comparison.get("engines", {})):
        lines.append(line)
    if comparison["power"]["kill_rate"] is not None and comparison["power"]["n"]:
        lines.append(f"the databases tell {percent(comparison['power']['kill_rate'])} of slightly wrong queries apart")
    return "\n".join(lines)


def harsh(details: dict) -> str:
    """How many answers hold on the harsh databases too; nothing where they change no arm's figure."""
    lower = {arm: detail["ex_harsh"] for arm, detail in details.items() if detail["ex_harsh"] != detail["ex"]}
    shares = ", ".join(f"{arm} {percent(share)}" for arm, share in lower.items())
    return f"right on the harsh databases too (docs/evaluation.md): {shares}" if lower else ""


def engines(counts: dict[str, int]) -> str:
    """Which engines gave how many verdicts; nothing where SQLite gave all of them on its own SQL."""
    if set(counts) <= {"sqlite"}:
        return ""
    return "engines: " + ", ".join(f"{engine} {count:,}" for engine, count in counts.items())


def training_line(training: dict) -> str:
    """What the adapter was trained on, in words."""
    shared = training.get("shared_share", 0)  # there since 0.2.0
    beside = f"{percent(shared)} shared" if shared else f"{percent(training['padding_share'])} padding on top"
    parts = [
        f"{training['rows']:,} examples",
        f"{training['steps']:,} steps",
        f"{training['tokens']:,} tokens ({beside})",
        f"{training['trainable_parameters']:,} parameters",
    ]
    if training["eval_rows"]:
        parts[0] += f" and {training['eval_rows']:,} held out"
    if training["kept_step"] != training["steps"]:
        parts[1] += f" (kept: step {training['kept_step']:,})"
    if training["too_long"]:
        needed = training.get("longest")  # there since 0.2.0
        remedy = f"; {needed:,} would keep them" if needed else ""
        parts.append(f"{len(training['too_long']):,} examples left out as longer than finetune.max_length{remedy}")
    return "trained: " + ", ".join(parts)


STAGES = (
    "ingest",
    "validate",
    "select",
    "populate",
    "resolve",
    "finetune",
    "examples",
    "generate",
    "score",
    "judge",
    "report",
)


def timing_table(timings: list[dict]) -> Table:
    """Wall time and peak memory of each stage as it last ran, in the pipeline's order, with tokens/s where known."""

    def place(timing: dict) -> int:
        name = timing["stage"].partition("@")[0]
        return STAGES.index(name) if name in STAGES else len(STAGES)

    table = Table(box=None, show_footer=True)
    table.add_column("stage", footer="together", no_wrap=True)
    columns = (
        ("seconds", f"{sum(timing['seconds'] for timing in timings):,.0f}"),
        ("peak GiB", f"{max(timing['peak_gib'] for timing in timings):.1f}"),
        ("tokens/s", ""),
    )
    for name, footer in columns:
        table.add_column(name, footer=footer, justify="right", no_wrap=True)
    for timing in sorted(timings, key=place):
        rate = timing.get("tokens_per_second")
        cells = f"{timing['seconds']:,.0f}", f"{timing['peak_gib']:.1f}", "" if rate is None else f"{rate:,.0f}"
        table.add_row(timing["stage"], *cells)
    return table


def percent(share: float) -> str:
    """A share as percent with one digit."""
    return f"{100 * share:.1f} %"
