"""Write what a change did as Markdown for a pull request: figures, differences, parameters, flipped questions.

python -m text2sql pr-report main HEAD
python -m text2sql pr-report main HEAD --out report.md

Reads git alone, so that it runs on a fresh clone without data.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from text2sql.base.errors import UserError
from text2sql.base.files import atomic_write
from text2sql.base.text import printable
from text2sql.commands.experiments import shown
from text2sql.commands.show import percent
from text2sql.experiments.differences import differences, texts_md5
from text2sql.experiments.git import DONE
from text2sql.experiments.paired import arm_details, conclude_between, estimate_between, interval_about, paired
from text2sql.experiments.runs import Run, changed_params, named_runs

SHOWN = 20  # flipped questions, and changed items of one kind
LISTED = 100  # parameters
MARK = "<!-- text2sql report -->"  # by which the comment of an earlier run is found again


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE", help="experiment or git revision before the change")
    parser.add_argument("head", metavar="HEAD", help="experiment or git revision after it")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the report goes (default: stdout)")


def run(args: argparse.Namespace) -> int:
    text = report(*named_runs(args.base, args.head))
    if args.out is None:
        print(text, end="")
    else:
        with atomic_write(args.out) as file:
            file.write(text)
    return 0


def report(base: Run, head: Run) -> str:
    """The report on two runs, in whatever state they are."""
    found = differences(base, head)
    params = changed_params(head, base)
    keys = list(dict.fromkeys([*base.summary, *head.summary]))
    figures = {key: (base.summary.get(key), head.summary.get(key)) for key in keys}
    changed = {key: pair for key, pair in figures.items() if pair[0] != pair[1]}
    both = base.state == head.state == DONE
    parts = [f"{MARK}\n## Text2SQL: {code(base.name)} → {code(head.name)}"]
    parts += [missing(name, run) for name, run in (("before", base), ("after", head)) if run.state != DONE]
    same = not (found or changed) and texts_md5(base) == texts_md5(head)
    if both:
        parts += [NOTHING] if same else comparison_parts(base, head)
    parts += arm_table(base, head)
    if both:
        rows = [[code(key), number(old), number(new), difference(old, new)] for key, (old, new) in changed.items()]
        parts.append(section("Metrics", ["metric", "before", "after", "change"], rows, "No metric changed."))
    rows = [[code(key), value(old), value(new)] for key, (old, new) in list(params.items())[:LISTED]]
    parts.append(section("Parameters", ["parameter", "before", "after"], rows, "No parameter changed."))
    if len(params) > LISTED:
        parts.append(f"… and {len(params) - LISTED} more parameters.")
    others = [[kind, cell(items)] for kind, items in found.items() if kind != "parameters"]
    if others or not same:
        parts.append(section("Other differences", ["", "what differs"], others, NO_OTHER))
    parts.append(f"<sub>before {base.revision}, after {head.revision}</sub>")
    return "\n\n".join(parts) + "\n"


NOTHING = "Nothing changed in what the pipeline runs or measures: same parameters, code and inputs, same figures."
NO_OTHER = "No other difference: same code, prompts, data, base model and scoring instrument."


def missing(when: str, run: Run) -> str:
    """Why a run has no figures, and what to do."""
    problem = f": {code(run.problem)}" if run.problem else ""
    todo = "" if when == "before" else " Run `dvc repro` and commit `dvc.lock` and `metrics/`."
    return f"**No figures {when} the change** ({run.state}{problem}), so there is nothing to compare.{todo}"


def comparison_parts(base: Run, head: Run) -> list[str]:
    """The paired comparison, what may be concluded of it and the flipped questions, or why there is none."""
    try:
        compared = paired(base, head)
    except UserError as error:
        return [f"**The two cannot be compared question by question:** {code(str(error))}"]
    ex = " → ".join(f"{100 * compared[key]:.1f} %" for key in ("ex_before", "ex_after"))
    subject = "The same texts, judged again" if compared["same_texts"] else f"Arm {code(head.arm)}"
    names = code(base.name), code(head.name)
    conclusion = conclude_between([base], [head], estimate_between([base], [head]), names=names)
    about = " on the test part" if head.ranked_on == "tuning" else ""
    parts = [f"**{subject}, execution accuracy{about} {ex}:** {conclusion.text}"]
    parts += [f"**Note:** {code(note)}" for note in (compared["cause"], compared["elsewhere"]) if note]
    if not compared["same_databases"]:
        parts.append("The evaluation databases were filled differently before and after.")
    flipped = [(kind, name) for kind in ("lost", "won") for name in compared[kind]]
    rows = [[kind, code(name), code(compared["database_of"][name])] for kind, name in flipped[:SHOWN]]
    parts.append(section("Flipped questions", ["", "question", "database"], rows, "No question flipped."))
    if len(flipped) > SHOWN:
        parts.append(f"… and {len(flipped) - SHOWN} more.")
    return parts


def arm_table(base: Run, head: Run) -> list[str]:
    """All arms before and after, with intervals, and the gain of each run's trained arm over its best untrained one;
    nothing where neither run has figures."""
    rows = []
    for when, run in (("before", base), ("after", head)):
        if run.state != DONE:
            continue
        for arm in run.arms:
            details = arm_details(run, arm)
            judge = details.get("judge", {}).get("accuracy")
            rows.append(
                [
                    f"{code(arm)}, {when}",
                    percent(details["ex"]),
                    f"{percent(details['ex_lo'])} – {percent(details['ex_hi'])}",
                    percent(details["em_ast"]),
                    percent(details["format_valid"]),
                    "–" if judge is None else percent(judge),
                    str(details["n"]),
                ]
            )
        lo, hi = (f"{100 * run.summary[key]:+.1f}" for key in ("ex.lo", "ex.hi"))
        gain = f"{100 * run.summary['ex.gain']:+.1f} points"
        about = interval_about(run)
        interval = f"{lo} – {hi}{f', on {about}' if about else ''}"
        rows.append(
            [
                f"**gain of {code(run.arm)} over {code(run.over)}, {when}**",
                f"**{gain}**",
                interval,
                "",
                "",
                "",
                str(run.summary["n"]),
            ]
        )
    header = ["", "EX", "95 % interval", "exact match", "valid format", "judge", "n"]
    return [section("Arms", header, rows, "")] if rows else []


# Markdown


def section(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> str:
    """A heading and a table, or a sentence where the table would be empty."""
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else empty
    return f"### {title}\n\n{table}"


def code(text: str) -> str:
    """Any text as code inside a table cell, where it can be neither markup nor a mention."""
    text = printable(text)
    if not re.search(r"[`|\\]", text) and text.strip():
        return f"`{text}`"
    return f"<code>{re.sub(r'[^0-9A-Za-z ._-]', lambda match: f'&#{ord(match[0])};', text)}</code>"


def cell(items: Sequence[str]) -> str:
    """The first changed items of one kind, and how many more there are."""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(code, items[:SHOWN])) + more


def value(given: Any) -> str:
    """A parameter's value; a dash where there is no such parameter."""
    return "–" if given is None else code(shown(given))


def number(given: Any) -> str:
    """A figure with four digits, a count as it is."""
    return "–" if given is None else f"{given:.4f}" if isinstance(given, float) else code(str(given))


def difference(old: Any, new: Any) -> str:
    """The signed change of a figure, where there is one on both sides."""
    if not all(isinstance(given, int | float) for given in (old, new)):
        return "–"
    return f"{new - old:+.4f}" if isinstance(new, float) or isinstance(old, float) else f"{new - old:+d}"
