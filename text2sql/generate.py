"""Completions for a table's questions from one arm: by transformers, by vLLM, or by a server with OpenAI's API."""

import hashlib
import importlib.util
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from text2sql import adapters, decode, models, prompts
from text2sql.errors import UserError
from text2sql.files import json_line, read_json, write_jsonl
from text2sql.resume import whole_lines

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from text2sql.params import GenerateParams, PromptParams

CPU_BYTES = 3 * 2**28  # of a batch's keys and values, where no card's memory sets the limit
CARD_SHARE = 0.7  # of the memory that the weights leave, for a batch's keys and values
VLLM_ROWS = 1024  # handed over at once; vLLM makes its own batches of them


class Completion(NamedTuple):
    """One answer: its text, untouched, and how it ended ("stop", "length", "prompt_too_long", or a server's word).

    The counts are 0 where a server does not tell them.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str


# Completes prompts: (prompts, a seed for each, the indices that are done already, (number of this process, of how
# many)). Yields what is finished, by index, in pieces that are not to be torn apart: a batch's members decide how its
# arithmetic rounds. A prompt with a seed is sampled, one without is answered greedily.
Complete = Callable[
    [Sequence[str], Sequence[int | None], Collection[int], tuple[int, int]], Iterator[dict[int, Completion]]
]


def generate(
    table: "pd.DataFrame",
    pointer: dict[str, Any],
    adapter: Path | None,
    prompt: "PromptParams",
    config: "GenerateParams",
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
    complete = open_backend(pointer, adapter, prompt.chat, config, arm)
    templates = prompts.read_templates(prompt)
    ids = table["id"].tolist()
    texts = [prompts.build_prompt(row, templates, prompt) for row in table.to_dict("records")]

    finished = read_finished(work)
    everyone()  # before any appends to a file that another may still be reading
    tokens, start = 0, time.monotonic()
    done = {index for index, key in enumerate(ids) if key in finished}
    path = work / f"finished{share[0] or ''}.jsonl"
    with open(path, "a", encoding="utf-8") as file, progress(len(ids), arm) as bar:
        bar.update(len(done))
        for piece in complete(texts, [None] * len(texts), done, share):
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
    from accelerate import PartialState

    state = PartialState(timeout=timedelta(days=7))  # of a wait for the slowest
    return (state.process_index, state.num_processes), state.wait_for_everyone


def open_arm(
    pointer: dict[str, Any], adapter: Path | None, chat: bool, config: "GenerateParams", arm: str
) -> Callable[..., list[list[str]]]:
    """Loads an arm once and returns `answer(prompts, samples=1, seed=0)`: for each prompt its `samples` raw texts.

    The first text is the greedy answer, what the pipeline's generate stage writes for it; the others are sampled with
    the seed. A prompt that the model has no room for gets empty texts. Raises UserError.
    """
    complete = open_backend(pointer, adapter, chat, config, arm)

    def answer(prompts: Sequence[str], samples: int = 1, seed: int = 0) -> list[list[str]]:
        texts = [text for text in prompts for _ in range(samples)]
        seeds = [None if sample == 0 else seed + sample for _ in prompts for sample in range(samples)]
        found = {index: one.text for piece in complete(texts, seeds, (), (0, 1)) for index, one in piece.items()}
        return [[found[place * samples + sample] for sample in range(samples)] for place in range(len(prompts))]

    return answer


def open_backend(
    pointer: dict[str, Any], adapter: Path | None, chat: bool, config: "GenerateParams", arm: str
) -> Complete:
    """What completes prompts as `config.backend` says."""
    if config.backend == "openai":
        from text2sql.remote import open_server

        return open_server(chat, config, arm)
    return (open_vllm if config.backend == "vllm" else open_transformers)(pointer, adapter, chat, config)


def open_transformers(pointer: dict[str, Any], adapter: Path | None, chat: bool, config: "GenerateParams") -> Complete:
    """Completes by transformers' model in this process, in batches of prompts that begin alike."""
    models.prepare_process()
    tokenizer = models.load_tokenizer(pointer)
    model = load_arm(pointer, adapter, config.quantization)
    stops = stop_tokens(model, tokenizer)
    budget = card_tokens(model) if config.batch_tokens == "auto" else config.batch_tokens
    limit = model.config.max_position_embeddings

    def complete(texts, seeds, done, share):
        import torch

        ids = [prompts.prompt_ids(text, tokenizer, chat) for text in texts]
        fits, too_long = with_room(ids, limit, config.max_new_tokens)
        planned = decode.plan_batches([ids[index] for index in fits], budget, config.max_new_tokens)
        batches = [[fits[place] for place in batch] for batch in planned]
        if share[0] == 0 and too_long.keys() - done:
            yield too_long
        for batch in batches[share[0] :: share[1]]:
            if batch[0] in done:
                continue
            rows = [ids[index] for index in batch]
            options = [rows, stops, config.max_new_tokens, [seeds[index] for index in batch]]
            try:
                if decode.serves(model, len(max(rows, key=len)) + config.max_new_tokens):
                    answers = decode.decode(model, *options, cuda_graphs=config.cuda_graphs)
                else:
                    answers = complete_padded(model, tokenizer, *options)
            except torch.OutOfMemoryError as error:
                raise UserError(
                    f"a batch of {len(batch)} prompts does not fit the card beside the model;"
                    f" set generate.batch_tokens below {budget}"
                ) from error
            yield {
                index: to_completion(answer, tokenizer, stops, len(ids[index]))
                for index, answer in zip(batch, answers, strict=True)
            }

    return complete


def load_arm(pointer: dict[str, Any], adapter: Path | None, quantization: str) -> "PreTrainedModel":
    """The base model, ready to generate, with the adapter if there is one.

    In 16 bits the adapter is merged: the same numbers, 1.4 times the speed. Beside 4-bit weights it stays apart, as
    merging would round it to 4 bits too.
    """
    model = models.load_model(pointer, quantization=quantization)  # type: ignore[arg-type]
    if "flash" in model.config._attn_implementation:  # takes no mask of our own
        model.set_attn_implementation("sdpa")
    if adapter is not None and quantization == "none":
        model = adapters.merged(model, adapter)
    elif adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).get_base_model()
    return model.eval()


def card_tokens(model: "PreTrainedModel") -> int:
    """How many tokens' keys and values a batch may hold: on a card as its memory allows, else CPU_BYTES."""
    import torch

    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token = 2 * config.num_hidden_layers * heads * size * model.dtype.itemsize
    if model.device.type != "cuda":
        return CPU_BYTES // token
    room = torch.cuda.get_device_properties(model.device).total_memory - model.get_memory_footprint()
    return max(1, int(CARD_SHARE * room / token))


def with_room(ids: Sequence[list[int]], limit: int, max_new_tokens: int) -> tuple[list[int], dict[int, Completion]]:
    """The prompts that have room for an answer within the model's limit, by index, and the others' completions.

    A prompt without room is never cut and never silent: its completion says so.
    """
    fits = [index for index, prompt in enumerate(ids) if len(prompt) + max_new_tokens <= limit]
    others = sorted(set(range(len(ids))).difference(fits))
    return fits, {index: Completion("", len(ids[index]), 0, "prompt_too_long") for index in others}


def to_completion(answer: list[int], tokenizer: "PreTrainedTokenizerBase", stops: set[int], length: int) -> Completion:
    """The completion that token ids (up to and with a stop token) are, behind a prompt of `length` tokens."""
    text = tokenizer.decode(answer, skip_special_tokens=True)
    return Completion(text, length, len(answer), "stop" if answer and answer[-1] in stops else "length")


def complete_padded(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[list[int]],
    stops: set[int],
    max_new_tokens: int,
    seeds: Sequence[int | None],
) -> list[list[int]]:
    """What `decode.decode` returns, by `model.generate`, for architectures that it does not serve."""
    import torch

    def run(chosen: list[int], **how: Any) -> dict[int, list[int]]:
        inputs = tokenizer.pad({"input_ids": [rows[place] for place in chosen]}, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            output = model.generate(
                **inputs,
                **({"temperature": None, "top_p": None, "top_k": None} | how),
                max_new_tokens=max_new_tokens,
                eos_token_id=sorted(stops),
                pad_token_id=tokenizer.pad_token_id,
            )
        new = output[:, inputs["input_ids"].shape[1] :].tolist()
        return {place: up_to_stop(answer, stops) for place, answer in zip(chosen, new, strict=True)}

    greedy = [place for place, seed in enumerate(seeds) if seed is None]
    answers = run(greedy, do_sample=False) if greedy else {}
    for place, seed in enumerate(seeds):
        if seed is not None:
            torch.manual_seed(seed)
            answers |= run([place], do_sample=True, temperature=decode.TEMPERATURE, top_k=0)
    return [answers[place] for place in range(len(rows))]


def up_to_stop(tokens: list[int], stops: set[int]) -> list[int]:
    """The tokens up to and with the first stop token; what follows it in a batch is padding."""
    end = next((place for place, token in enumerate(tokens) if token in stops), len(tokens) - 1)
    return tokens[: end + 1]


def stop_tokens(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """The tokens that end a completion: the tokenizer's end of sequence and those of the model's own settings."""
    own = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}


def open_vllm(pointer: dict[str, Any], adapter: Path | None, chat: bool, config: "GenerateParams") -> Complete:
    """Completes by vLLM in this process, which batches by itself. Raises UserError where it is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError("params.yaml, generate.backend: vllm is not installed; `pip install .[vllm]` on a GPU machine")
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    tokenizer = models.load_tokenizer(pointer)
    options: dict[str, Any] = {"quantization": "bitsandbytes"} if config.quantization == "nf4" else {}
    lora = None
    if adapter is not None:
        rank = read_json(adapter / "adapter_config.json")["r"]
        options |= {"enable_lora": True, "max_lora_rank": max(8, 1 << (rank - 1).bit_length())}
        lora = LoRARequest("adapter", 1, str(adapter))
    llm = LLM(model=str(models.weights_folder(pointer)), seed=0, **options)
    limit = llm.llm_engine.model_config.max_model_len

    def complete(texts, seeds, done, share):
        ids = [prompts.prompt_ids(text, tokenizer, chat) for text in texts]
        fits, too_long = with_room(ids, limit, config.max_new_tokens)
        if share[0] == 0 and too_long.keys() - done:
            yield too_long
        todo = [index for index in fits if index not in done][share[0] :: share[1]]
        for start in range(0, len(todo), VLLM_ROWS):
            piece = todo[start : start + VLLM_ROWS]
            sampling = [
                SamplingParams(
                    max_tokens=config.max_new_tokens,
                    temperature=0.0 if seeds[index] is None else decode.TEMPERATURE,
                    seed=seeds[index],
                )
                for index in piece
            ]
            inputs = [{"prompt_token_ids": ids[index]} for index in piece]
            results = [
                result.outputs[0] for result in llm.generate(inputs, sampling, lora_request=lora, use_tqdm=False)
            ]
            yield {
                index: Completion(one.text, len(ids[index]), len(one.token_ids), one.finish_reason)
                for index, one in zip(piece, results, strict=True)
            }

    return complete


def progress(total: int, name: str) -> Any:
    """A progress bar over rows."""
    from tqdm import tqdm

    return tqdm(total=total, unit=" rows", desc=f"generate {name}")
