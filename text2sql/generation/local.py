"""Answers by transformers' model in this process."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from text2sql.base.errors import UserError
from text2sql.base.params import GenerateParams, PromptParams
from text2sql.generation import decode
from text2sql.generation.backend import TEMPERATURE, Backend, Completion, stop_text, with_room
from text2sql.models import adapters, load, preflight
from text2sql.models.prompts import Prompt, answer_text, opened_reasoning, tokenize

CPU_BYTES = 3 * 2**28  # of a batch's keys and values, where no card's memory sets the limit
CARD_SHARE = 0.7  # of the memory that the weights leave, for a batch's keys and values


class LocalModel(Backend):
    """Completes by transformers' model in this process, in batches of prompts that begin alike."""

    def __init__(
        self, pointer: dict[str, Any], adapter: Path | None, prompt: PromptParams, config: GenerateParams
    ) -> None:
        self.prompt, self.config = prompt, config
        self.tokenizer = load.load_tokenizer(pointer)
        self.model = load_arm(pointer, adapter, config.quantization, load.number_format(config.dtype))
        self.limit = load.max_positions(self.model.config)
        self.stops = load.stop_tokens(self.model, self.tokenizer)
        self.budget = card_tokens(self.model) if config.batch_tokens == "auto" else config.batch_tokens
        self.switch = load.rope_switch(self.model.config)
        batches = pointer.get("checks", {}).get("batches")
        if batches is None and not decode.serves(self.model, 1):  # too large to be tried where `resolve` ran
            batches = preflight.heeds_padding(self.model, self.tokenizer)
        if batches is False:
            self.budget = 0  # the model does not heed padding's mask: a row at a time, whatever stands beside it

    def complete(
        self, prompts: Sequence[Prompt], seeds: Sequence[int | None], done: Collection[int], share: tuple[int, int]
    ) -> Iterator[dict[int, Completion]]:
        new = self.config.max_new_tokens
        ids = list(map(self.reads, prompts))
        fits, too_long = with_room(ids, self.limit, new)
        if share[0] == 0 and too_long.keys() - done:
            yield too_long
        # Sampled answers stand apart, so that the greedy ones are those of an arm that draws no samples.
        greedy, sampled = ([index for index in fits if (seeds[index] is None) is kind] for kind in (True, False))
        for batch in [*self.plan(ids, greedy), *self.plan(ids, sampled)][share[0] :: share[1]]:
            if batch[0] in done:
                continue
            rows, drawn = [ids[index] for index in batch], [seeds[index] for index in batch]
            answers = self.answer(rows, drawn, self.ends([prompts[index] for index in batch]))
            yield {
                index: to_completion(answer, self.tokenizer, self.stops, ids[index])
                for index, answer in zip(batch, answers, strict=True)
            }

    def reads(self, prompt: Prompt) -> list[int]:
        return tokenize(prompt, self.tokenizer, self.prompt)

    def fits(self, prompt: Prompt) -> bool:
        length = len(self.reads(prompt))
        return self.limit is None or length + self.config.max_new_tokens <= self.limit

    def ends(self, prompts: Sequence[Prompt]) -> Callable[[int, list[int]], bool]:
        """What tells `decode` that the answer to one of a batch's prompts has come to its stop text."""
        texts = [stop_text(prompt, self.prompt.chat) for prompt in prompts]
        written = cache(lambda token: str(self.tokenizer.decode([token])))

        def over(row: int, answer: list[int]) -> bool:
            text = texts[row]  # its last character stands in the token that completes it; few tokens hold that
            return text is not None and text[-1] in written(answer[-1]) and text in answer_text(answer, self.tokenizer)

        return over

    def plan(self, ids: Sequence[list[int]], fits: list[int]) -> list[list[int]]:
        """The prompts that fit, as batches of their indices.

        Where rotary positions depend on the pass, prompts stand together that have all their passes on one side of the
        switch; the others are answered one at a time. So an answer depends on no row beside it.
        """
        new = self.config.max_new_tokens
        before, beyond, across = [], [], []
        for index in fits:
            if self.switch is None or len(ids[index]) + new <= self.switch.tokens:
                before.append(index)
            elif len(ids[index]) > self.switch.tokens and not self.switch.grows:
                beyond.append(index)
            else:
                across.append(index)
        return [
            [side[place] for place in batch]
            for side, budget in ((before, self.budget), (beyond, self.budget), (across, 0))
            for batch in decode.plan_batches([ids[index] for index in side], budget, new)
        ]

    def answer(
        self, rows: list[list[int]], seeds: list[int | None], over: Callable[[int, list[int]], bool]
    ) -> list[list[int]]:
        """One batch's answers as token ids, as `decode` gives them. Raises UserError where it does not fit the card."""
        new = self.config.max_new_tokens
        if self.switch is not None and self.switch.grows:
            with torch.inference_mode():  # a pass over one token makes the model forget how far the last row went
                self.model(torch.zeros(1, 1, dtype=torch.long, device=self.model.device))
        try:
            if decode.serves(self.model, max(map(len, rows)) + new):
                graphs = self.config.cuda_graphs
                return decode.decode(self.model, rows, self.stops, new, seeds, over=over, cuda_graphs=graphs)
            return complete_padded(self.model, self.tokenizer, rows, self.stops, new, seeds)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"a batch of {len(rows)} prompts does not fit the card beside the model;"
                f" set generate.batch_tokens below {self.budget}"
            ) from error


def load_arm(
    pointer: dict[str, Any],
    adapter: Path | None,
    quantization: Literal["none", "nf4"],
    dtype: torch.dtype | None = None,
) -> PreTrainedModel:
    """The base model, ready to generate, with the adapter if there is one.

    In 16 bits the adapter is merged: the same numbers, 1.4 times the speed. Beside 4-bit weights it stays apart, as
    merging would round it to 4 bits too.
    """
    model = load.load_model(pointer, dtype, quantization=quantization)
    if "flash" in model.config._attn_implementation:  # takes no mask of our own
        model.set_attn_implementation("sdpa")
    if adapter is not None:
        model = adapters.merged(model, adapter) if quantization == "none" else adapters.beside(model, adapter)
    return model.eval()


def card_tokens(model: PreTrainedModel) -> int:
    """How many tokens' keys and values a batch may hold: on a card as its memory allows, else CPU_BYTES."""
    config = model.config.get_text_config()
    all_heads = getattr(config, "num_attention_heads", None) or 1  # a state-space model has none, and a smaller state
    heads = getattr(config, "num_key_value_heads", None) or all_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // all_heads
    token = 2 * config.num_hidden_layers * heads * size * model.dtype.itemsize
    if model.device.type != "cuda":
        return CPU_BYTES // token
    room = torch.cuda.get_device_properties(model.device).total_memory - model.get_memory_footprint()
    return max(1, int(CARD_SHARE * room / token))


def to_completion(
    answer: list[int], tokenizer: PreTrainedTokenizerBase, stops: set[int], prompt: list[int]
) -> Completion:
    """The completion that token ids (up to and with a stop token) are, behind a prompt's."""
    text = opened_reasoning(prompt, tokenizer) + answer_text(answer, tokenizer)
    return Completion(text, len(prompt), len(answer), "stop" if answer and answer[-1] in stops else "length")


def complete_padded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[list[int]],
    stops: set[int],
    max_new_tokens: int,
    seeds: Sequence[int | None],
) -> list[list[int]]:
    """What `decode.decode` returns, by `model.generate`, for architectures that it does not serve."""

    generate: Any = model.generate

    def run(chosen: list[int], **how: Any) -> dict[int, list[int]]:
        inputs = tokenizer.pad({"input_ids": [rows[place] for place in chosen]}, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            output = generate(
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
            answers |= run([place], do_sample=True, temperature=TEMPERATURE, top_k=0)
    return [answers[place] for place in range(len(rows))]


def up_to_stop(tokens: list[int], stops: set[int]) -> list[int]:
    """The tokens up to and with the first stop token; what follows it in a batch is padding."""
    end = next((place for place, token in enumerate(tokens) if token in stops), len(tokens) - 1)
    return tokens[: end + 1]
