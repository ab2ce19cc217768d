"""Completions for a table's questions from one arm: by transformers, by vLLM, or by a server with OpenAI's API."""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from text2sql.base.files import json_line, write_jsonl
from text2sql.base.params import GenerateParams, PromptParams
from text2sql.base.resume import whole_lines
from text2sql.generation.backend import Backend
from text2sql.models import prompts

if TYPE_CHECKING:  # `ask` hands over texts, and a server's answers need no table
    import pandas as pd


def generate(
    table: "pd.DataFrame",
    pointer: dict[str, Any],
    adapter: Path | None,
    prompt: PromptParams,
    config: GenerateParams,
    arm: str,
    *,
    out: Path,
    work: Path,
) -> dict[str, float]:
    """Writes one generation a row of the table, in its order: id, prompt_sha256 and the fields of Completion.

    adapter: folder of a LoRA adapter, None for the base model itself. arm: its name in config.models. work: folder
    where finished rows wait for a rerun. Under `accelerate launch` each process takes its share of the batches and the
    first one writes. Returns tokens_per_second of what this process generated. Raises UserError.
    """
    share, everyone = processes()
    backend = open_backend(pointer, adapter, prompt.chat, config, arm)
    templates = prompts.read_templates(prompt)
    ids = table["id"].tolist()
    texts = [prompts.build_prompt(row, templates, prompt) for row in table.to_dict("records")]

    finished = read_finished(work)
    everyone()  # before any appends to a file that another may still be reading
    tokens, start = 0, time.monotonic()
    done = {index for index, key in enumerate(ids) if key in finished}
    path = work / f"finished{share[0] or ''}.jsonl"
    with (
        open(path, "a", encoding="utf-8") as file,
        tqdm(total=len(ids), unit=" rows", desc=f"generate {arm}") as bar,
    ):
        bar.update(len(done))
        for piece in backend.complete(texts, [None] * len(texts), done, share):
            rows = [
                {"id": ids[index], "prompt_sha256": hashlib.sha256(texts[index].encode()).hexdigest()}
                | completion._asdict()
                for index, completion in piece.items()
            ]
            # One line a piece: a kill in the middle leaves a torn line, and the whole piece is done again.
            file.write(json_line({"rows": rows}) + "\n")
            file.flush()
            os.fsync(file.fileno())
            tokens += sum(row["completion_tokens"] for row in rows)
            bar.set_postfix(tokens_per_second=f"{tokens / (time.monotonic() - start):.0f}")
            bar.update(len(rows))
    seconds = time.monotonic() - start

    everyone()
    if share[0] == 0:
        finished = read_finished(work)
        write_jsonl(out, (finished[key] for key in ids))
        for path in work.glob("finished*.jsonl"):
            path.unlink()
    return {"tokens_per_second": round(tokens / seconds, 1)} if tokens else {}


def read_finished(work: Path) -> dict[str, dict]:
    """The rows that earlier runs, or the processes of this one, have finished, by id."""
    paths = sorted(work.glob("finished*.jsonl"))
    return {row["id"]: row for path in paths for line in whole_lines(path) for row in line["rows"]}


def processes() -> tuple[tuple[int, int], Callable[[], None]]:
    """((number of this process, how many there are), what waits until all have come so far).

    There are several under `accelerate launch`, which then also gives each its card.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return (0, 1), lambda: None
    from accelerate import PartialState  # brings torch, which a server's client does without

    state = PartialState(timeout=timedelta(days=7))  # of a wait for the slowest
    return (state.process_index, state.num_processes), state.wait_for_everyone


def open_arm(
    pointer: dict[str, Any], adapter: Path | None, chat: bool, config: GenerateParams, arm: str
) -> Callable[..., list[list[str]]]:
    """Loads an arm once and returns `answer(prompts, samples=1, seed=0)`: for each prompt its `samples` raw texts.

    The first text is the greedy answer, what the pipeline's generate stage writes for it; the others are sampled with
    the seed. A prompt that the model has no room for gets empty texts. Raises UserError.
    """
    backend = open_backend(pointer, adapter, chat, config, arm)

    def answer(prompts: Sequence[str], samples: int = 1, seed: int = 0) -> list[list[str]]:
        texts = [text for text in prompts for _ in range(samples)]
        seeds = [None if sample == 0 else seed + sample for _ in prompts for sample in range(samples)]
        found = {
            index: one.text for piece in backend.complete(texts, seeds, (), (0, 1)) for index, one in piece.items()
        }
        return [[found[place * samples + sample] for sample in range(samples)] for place in range(len(prompts))]

    return answer


def open_backend(
    pointer: dict[str, Any], adapter: Path | None, chat: bool, config: GenerateParams, arm: str
) -> Backend:
    """What completes prompts as `config.backend` says; only that one's module, and what it needs, is imported."""
    match config.backend:
        case "transformers":
            from text2sql.generation.local import LocalModel

            return LocalModel(pointer, adapter, chat, config)
        case "vllm":
            from text2sql.generation.vllm import VLLM

            return VLLM(pointer, adapter, chat, config)
        case "openai":
            from text2sql.generation.server import Server

            return Server(chat, config, arm)
