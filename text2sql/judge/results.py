"""From answers to files and numbers: one line per input row, joined by id, sorted by id, counted.

What the numbers mean: text2sql/judge/measures.py.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from text2sql.base.endpoint.cost import cost_usd
from text2sql.base.files import atomic_write, json_line, write_json
from text2sql.base.params import JudgeParams
from text2sql.judge.cache import AnswerStore
from text2sql.judge.chat import JudgeTraffic
from text2sql.judge.measures import RATERS, VERDICTS, accuracy, compared
from text2sql.judge.requests import Template, Verdict, prompt_of, read_answer
from text2sql.scoring.conclusions import agreed
from text2sql.scoring.stats import Agreement

FILES = ("requests.jsonl", "answers.csv", "disagreements.jsonl", "metrics.json")  # in the folder beside the verdicts
ERRORS = ("refused", "no_answer", "unreadable")  # why a row is a judge_error


@dataclass(frozen=True, slots=True)
class Entry:
    """One input row: its request's key and place in requests.jsonl, and what execution said (None where unknown)."""

    id: str
    key: str
    offset: int
    ex: bool | None
    outcome: str | None
    error: str | None


def write_results(
    out: Path,
    entries: Sequence[Entry],
    store: AnswerStore,
    traffic: JudgeTraffic,
    canary: str | None,
    template: Template,
    params: JudgeParams,
) -> dict[str, Any]:
    """Writes OUT.jsonl, and into the folder OUT answers.csv, disagreements.jsonl and metrics.json; returns the metrics.

    traffic: knows which requests have no answer, and why. canary: what became of the self-check.
    """
    folder = out.with_suffix("")
    counts, errors = dict.fromkeys(VERDICTS, 0), dict.fromkeys(ERRORS, 0)
    pairs: list[tuple[bool, bool]] = []  # judge, execution
    disagreements = 0
    with ExitStack() as files:
        rows_file = files.enter_context(atomic_write(out))
        answers_file = files.enter_context(atomic_write(folder / "answers.csv"))
        disagreements_file = files.enter_context(atomic_write(folder / "disagreements.jsonl"))
        table = csv.writer(answers_file, lineterminator="\n")
        table.writerow(["prompt", "resolve_yn"])
        ordered = sorted(entries, key=lambda entry: entry.id)
        for entry, prompt in zip(ordered, prompts(folder / "requests.jsonl", ordered), strict=True):
            row = judgement(entry, store.answers(entry.key), traffic, template)
            rows_file.write(json_line(row) + "\n")
            table.writerow([prompt, {"correct": "yes", "incorrect": "no"}.get(row["verdict"], row["verdict"])])
            counts[row["verdict"]] += 1
            if row["verdict"] == "judge_error":
                errors[error_of(row, traffic)] += 1
            if entry.ex is not None and row["verdict"] in ("correct", "incorrect"):
                pairs.append((row["verdict"] == "correct", entry.ex))
                if pairs[-1][0] != entry.ex:
                    disagreements += 1
                    disagreements_file.write(json_line(disagreement(entry, row)) + "\n")
    assert sum(counts.values()) == len(entries), "a row lost its verdict"
    metrics = {
        "enabled": True,
        "model": params.model,
        "template": template.name,
        "template_version": template.version,
        "n": len(entries),
        **counts,
        "judge_errors": errors,
        **accuracy(counts["correct"], len(entries) - counts["judge_error"]),
        **compared(pairs),
        "disagreements": disagreements,
        "canary": canary,
        **spending(entries, store, params),
    }
    write_json(folder / "metrics.json", metrics)
    return metrics


def write_empty(out: Path) -> None:
    """The files of a run with the judge off: valid, and without rows."""
    folder = out.with_suffix("")
    with atomic_write(out) as file:
        file.write("\n")  # a blank line, because DVC warns of every empty file
    for path in (folder / "disagreements.jsonl", folder / "requests.jsonl"):
        with atomic_write(path):
            pass
    with atomic_write(folder / "answers.csv") as file:
        file.write("prompt,resolve_yn\n")
    write_json(folder / "metrics.json", {"enabled": False})


def prompts(path: Path, entries: Sequence[Entry]) -> Iterator[str]:
    """The entries' prompts, read from their places in requests.jsonl."""
    with open(path, "rb") as file:
        for entry in entries:
            file.seek(entry.offset)
            line = json.loads(file.readline())
            assert line["custom_id"] == entry.id, "requests.jsonl changed under this run"
            yield prompt_of(line["body"])


def judgement(entry: Entry, answers: list[dict[str, Any]], traffic: JudgeTraffic, template: Template) -> dict[str, Any]:
    """One row of the output."""
    last = answers[-1] if answers else {}
    failure = traffic.refused.get(entry.key) or traffic.given_up.get(entry.key)
    read = failure or read_answer(template.name, last)
    return {
        "id": entry.id,
        "verdict": read.verdict if isinstance(read, Verdict) else "judge_error",
        "reason": read.reason if isinstance(read, Verdict) else None,
        "error": None if isinstance(read, Verdict) else read,
        "request_sha256": entry.key,
        "model": last.get("model"),
        "answers": len(answers),
    }


def error_of(row: dict[str, Any], traffic: JudgeTraffic) -> str:
    """Which of ERRORS befell a row without a verdict; a refusal may come from the server or be the model's answer."""
    if row["request_sha256"] in traffic.refused or row["error"].startswith("refused:"):
        return "refused"
    return "no_answer" if row["request_sha256"] in traffic.given_up else "unreadable"


def disagreement(entry: Entry, row: dict[str, Any]) -> dict[str, Any]:
    """A row on which the two instruments differ, with the reasons of both."""
    return {
        "id": entry.id,
        "judge": row["verdict"],
        "judge_reason": row["reason"],
        "execution": "match" if entry.ex else "no match",
        "execution_outcome": entry.outcome,
        "execution_error": entry.error,
    }


def spending(entries: Sequence[Entry], store: AnswerStore, params: JudgeParams) -> dict[str, Any]:
    """What the answers behind these rows cost, whenever they were paid; rows with equal requests share one."""
    answers = tokens_in = tokens_out = 0
    known = True
    for key in {entry.key for entry in entries}:
        for answer in store.answers(key):
            answers += 1
            known = known and answer["prompt_tokens"] is not None
            tokens_in += answer["prompt_tokens"] or 0
            tokens_out += answer["completion_tokens"] or 0
    cost = cost_usd(params.prices.get(params.model), tokens_in, tokens_out, params.transport)
    return {
        "requests": len({entry.key for entry in entries}),
        "paid_answers": answers,
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "cost_usd": "unknown" if cost is None or not known else round(cost, 6),
    }


def summary(metrics: dict[str, Any]) -> str:
    """The metrics as a few lines for the terminal."""

    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    cost = metrics["cost_usd"]
    limits = f"{share(metrics['accuracy_lo'])} to {share(metrics['accuracy_hi'])}"
    interval = "" if metrics["accuracy"] is None else f" (95 % interval {limits})"
    lines = [
        f"{metrics['n']} rows: " + ", ".join(f"{metrics[name]} {name}" for name in VERDICTS),
        f"accuracy by {metrics['model']}, template {metrics['template']}: {share(metrics['accuracy'])}{interval}",
        f"cost: {cost if isinstance(cost, str) else f'${cost:.4f}'} for {metrics['paid_answers']} answers",
    ]
    if metrics["compared"]:
        found = Agreement(
            metrics["kappa"],
            metrics["kappa_lo"],
            metrics["kappa_hi"],
            (metrics["yes"][RATERS[0]], metrics["yes"][RATERS[1]]),
        )
        lines.insert(
            2,
            f"against execution: agreement {share(metrics['agreement'])}, {metrics['disagreements']} of "
            f"{metrics['compared']} rows disagree. {agreed(found, raters=RATERS)}",
        )
    if metrics["judge_error"]:
        why = ", ".join(f"{count} {name}" for name, count in metrics["judge_errors"].items() if count)
        lines.append(f"without a verdict: {why}; OUT's column error has the words")
    if metrics["canary"]:
        lines.append(f"canary: {metrics['canary']}")
    return "\n".join(lines)
