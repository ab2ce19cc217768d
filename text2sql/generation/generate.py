"""Completions for a table's questions from one arm: by transformers, by vLLM, or by a server with OpenAI's API."""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from text2sql.base.arms import BASE_MODEL, kind
from text2sql.base.errors import UserError
from text2sql.base.files import json_line, write_jsonl
from text2sql.base.params import GenerateParams, PromptParams
from text2sql.base.resume import whole_lines
from text2sql.generation.backend import Backend, Completion, stop_text
from text2sql.generation.recall import missing_tables, recall_line
from text2sql.models import prompts
from text2sql.models.prompts import Prompt

if TYPE_CHECKING:  # `ask` hands over texts, and a server's answers need no table
    import pandas as pd


def generate(
    table: "pd.DataFrame",
    examples: Mapping[str, Sequence[Mapping]],
    pointer: dict[str, Any],
    model: str,
    prompt: PromptParams,
    config: GenerateParams,
    arm: str,
    *,
    samples: int = 1,
    out: Path,
    work: Path,
) -> dict[str, Any]:
    """Writes one generation a row of the table, in its order: id, prompt_sha256, the ids of the examples that stood in
    the prompt, the most alike first, and the fields of Completion for the greedy answer.

    With `samples` above 1 a line also lists under that name the other candidates, drawn by `seed_of` 1, 2, …, each with
    its text, completion_tokens and finish_reason; the greedy answer is the one that it is without. Where the
    backend knows a price, `cost_usd` is that of the row.

    examples: for each row's id the training rows that may stand before it, the most alike first; as many do as leave
    room for an answer. With a cut schema each line also has what `missing_tables` tells of the gold's tables, whose
    recall is printed. model: of the arm, as params.yaml has it. work: folder where finished rows wait for a rerun.
    Under `accelerate launch` each process takes its share of the batches and the first one writes. Returns
    tokens_per_second of what this process generated and what its backend tells of the run. Raises UserError.
    """
    share, everyone = processes()
    backend = open_backend(pointer, model, prompt, config, arm)
    ids = table["id"].tolist()
    rows = table.to_dict("records")
    built, used = build_prompts(rows, examples, prompt, backend.fits, arm)
    missing = missing_tables(rows, prompt)
    if missing and share[0] == 0:
        print(f"generate {arm}: {recall_line(missing.values())}", file=sys.stderr)

    asked = [(place, sample) for sample in range(samples) for place in range(len(rows))]  # sample 0 is greedy
    finished = read_finished(work)
    everyone()  # before any appends to a file that another may still be reading
    tokens, start = 0, time.monotonic()
    done = {index for index, (place, sample) in enumerate(asked) if (ids[place], sample) in finished}
    path = work / f"finished{share[0] or ''}.jsonl"
    with (
        open(path, "a", encoding="utf-8") as file,
        tqdm(total=len(asked), unit=" rows" if samples == 1 else " answers", desc=f"generate {arm}") as bar,
    ):
        bar.update(len(done))
        whole = [built[place] for place, _ in asked]
        seeds = [seed_of(built[place], sample) if sample else None for place, sample in asked]
        for piece in backend.complete(whole, seeds, done, share):
            lines = []
            for index, completion in piece.items():
                place, sample = asked[index]
                answer = up_to_break(completion, built[place], prompt.chat)._asdict()
                if sample:
                    lines.append({"id": ids[place], "sample": sample} | answer)
                    continue
                seen = prompts.fingerprint(backend.reads(built[place]))
                line = {"id": ids[place], "prompt_sha256": seen, "examples": used[place]}
                lines.append(line | answer | missing.get(ids[place], {}))
            # One line a piece: a kill in the middle leaves a torn line, and the whole piece is done again.
            file.write(json_line({"rows": lines}) + "\n")
            file.flush()
            os.fsync(file.fileno())
            tokens += sum(row["completion_tokens"] for row in lines)
            bar.set_postfix(tokens_per_second=f"{tokens / (time.monotonic() - start):.0f}")
            bar.update(len(lines))
    seconds = time.monotonic() - start

    everyone()
    if share[0] == 0:
        finished = read_finished(work)
        write_jsonl(out, (row_of([finished[key, sample] for sample in range(samples)], backend) for key in ids))
        for path in work.glob("finished*.jsonl"):
            path.unlink()
    return ({"tokens_per_second": round(tokens / seconds, 1)} if tokens else {}) | backend.record()


def seed_of(prompt: Prompt, number: int) -> int:
    """The seed of a prompt's sample: another for each prompt, so that an unlucky draw is not one for all questions."""
    text = f"{number}\n{prompts.bare_text(prompt)}"
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4]) >> 1


def row_of(answers: Sequence[dict], backend: Backend) -> dict[str, Any]:
    """A row's line of the generations, of its candidates' lines, the greedy one first."""
    greedy, *others = answers
    kept = ("text", "completion_tokens", "finish_reason")
    samples = {"samples": [{key: other[key] for key in kept} for other in others]} if others else {}
    counted = [one for one in answers if one["prompt_tokens"] or not one["text"]]  # not every server tells its tokens
    costs = [backend.cost(one["prompt_tokens"], one["completion_tokens"]) for one in counted]
    known = [cost for cost in costs if cost is not None]
    return greedy | samples | ({"cost_usd": sum(known)} if len(known) == len(answers) else {})


def build_prompts(
    rows: Sequence[Mapping],
    examples: Mapping[str, Sequence[Mapping]],
    config: PromptParams,
    fits: Callable[[Prompt], bool],
    arm: str,
) -> tuple[list[Prompt], list[list[str]]]:
    """Each row's prompt, and the ids of the examples in it: as many whole ones as leave room, the least alike go first.

    Says how many prompts hold fewer than they might. Raises UserError where there is room for none of them anywhere.
    """
    templates = prompts.read_templates(config)
    built, used, fewer = [], [], 0
    for row in rows:
        offered = examples[row["id"]]
        shown = list(offered)
        prompt = prompts.with_examples(row, shown, templates, config)
        while shown and not fits(prompt):
            shown.pop()
            prompt = prompts.with_examples(row, shown, templates, config)
        built.append(prompt)
        used.append([one["id"] for one in shown])
        fewer += len(shown) < len(offered)
    if fewer == len(rows) and not any(used):
        raise UserError(f"params.yaml, arms.{arm}.shots: the model has no room for one example; set 0")
    if fewer:
        print(f"note: {fewer:,} prompts of {arm} have room for fewer examples than arms.{arm}.shots", file=sys.stderr)
    return built, used


def up_to_break(completion: Completion, prompt: Prompt, chat: bool) -> Completion:
    """The completion, ended where the examples of a bare prompt show that an answer ends; a model that was not trained
    goes on with a question of its own there."""
    end = stop_text(prompt, chat)
    if end is None or end not in completion.text:
        return completion
    return completion._replace(text=completion.text.partition(end)[0], finish_reason="stop")


def read_finished(work: Path) -> dict[tuple[str, int], dict]:
    """The answers that earlier runs, or the processes of this one, have finished, by id and number of the sample."""
    paths = sorted(work.glob("finished*.jsonl"))
    lines = (row for path in paths for line in whole_lines(path) for row in line["rows"])
    return {(row["id"], row.get("sample", 0)): row for row in lines}


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
    pointer: dict[str, Any], model: str, prompt: PromptParams, config: GenerateParams, arm: str
) -> Callable[..., list[list[str]]]:
    """Loads an arm once and returns `answer(prompts, samples=1, seed=0)`: for each prompt its `samples` raw texts.

    The first text is the greedy answer, what the pipeline's generate stage writes for it; the others are drawn by the
    numbers behind `seed`: from 0 on those of an arm's samples. A prompt that the model has no room for gets empty
    texts. Raises UserError, also for a server's refusal.
    """
    backend = open_backend(pointer, model, prompt, config, arm)

    def answer(prompts: Sequence[Prompt], samples: int = 1, seed: int = 0) -> list[list[str]]:
        repeated = [one for one in prompts for _ in range(samples)]
        seeds = [seed_of(one, seed + sample) if sample else None for one in prompts for sample in range(samples)]
        found = {}
        for piece in backend.complete(repeated, seeds, (), (0, 1)):
            for index, one in piece.items():
                if one.error:
                    raise UserError(f"{arm}: {one.error}")
                found[index] = up_to_break(one, repeated[index], prompt.chat).text
        return [[found[place * samples + sample] for sample in range(samples)] for place in range(len(prompts))]

    return answer


def open_backend(
    pointer: dict[str, Any], model: str, prompt: PromptParams, config: GenerateParams, arm: str
) -> Backend:
    """What completes an arm's prompts as `config.backend` says; only that one's module, and its needs, are imported.

    model: of the arm, as params.yaml has it. Raises UserError.
    """
    if kind(model) == "reference":
        from text2sql.generation.server import described

        return described(Path(model), prompt, config, arm)
    if model.endswith(".gguf"):
        from text2sql.generation.llamacpp import LlamaCpp

        return LlamaCpp(Path(model), pointer, prompt, config)
    adapter = None if model == BASE_MODEL else Path(model)
    if (Path(model) / "config.json").is_file():  # a merged model, which stands by itself
        pointer, adapter = {"source": "folder", "name": model, "checks": pointer.get("checks", {})}, None
    match config.backend:
        case "transformers":
            from text2sql.generation.local import LocalModel

            return LocalModel(pointer, adapter, prompt, config)
        case "vllm":
            from text2sql.generation.vllm import VLLM

            return VLLM(pointer, adapter, prompt, config)
        case "openai":
            from text2sql.generation.server import Server

            return Server(prompt, config, arm)
