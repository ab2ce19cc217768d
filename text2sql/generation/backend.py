"""The seam between generation and what answers prompts: a model in this process, or a server."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from text2sql.models.prompts import BREAK, Prompt

TEMPERATURE = 0.7  # of sampled answers


class Completion(NamedTuple):
    """One answer: its text, untouched, and how it ended.

    finish_reason: "stop", "length", "prompt_too_long", "refused" by a server, or a server's own word. error: what a
    server said when it refused, or None. The counts are 0 where a server does not tell them.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    error: str | None = None


class Backend(Protocol):
    """What completes prompts with one arm, loaded once. `generate.open_backend` chooses it by `generate.backend`."""

    def complete(
        self, prompts: Sequence[Prompt], seeds: Sequence[int | None], done: Collection[int], share: tuple[int, int]
    ) -> Iterator[dict[int, Completion]]:
        """Yields, piece by piece, the completions of this process's share of the prompts, by their index in `prompts`.

        prompts: as `prompts.with_examples` makes them, all of the run's. seeds: one for each; None is answered
        greedily, a number is sampled at TEMPERATURE, and the same number gives the same text. done: indices that an
        earlier run has finished. share: (number of this process, how many there are), each of which is given the same
        arguments.

        Over all processes each prompt outside `done` is yielded once, in any order. The caller keeps a piece whole or
        not at all, so `done` holds whole pieces: where a batch's members decide how its arithmetic rounds, a batch is a
        piece, and batches are planned from all of `prompts`, so that a killed run goes on to the same bytes. A prompt
        without room for an answer is yielded as "prompt_too_long" with an empty text; it is never cut. Raises UserError
        for what the user can change.
        """
        ...

    def reads(self, prompt: Prompt) -> list[int] | str:
        """What the model is given of a prompt: its token ids where this process makes them, else its text."""
        ...

    def fits(self, prompt: Prompt) -> bool:
        """Whether the model has room for an answer behind a prompt; True where only a server knows."""
        ...

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """US dollars for so many tokens; None where they cost nothing that is known."""
        return None

    def record(self) -> dict[str, Any]:
        """What the last `complete` sent and cost beside its time; nothing for a model of this process."""
        return {}


def stop_text(prompt: Prompt, chat: bool) -> str | None:
    """The text at which an answer ends: behind the examples of a bare prompt the blank line that ends theirs."""
    return None if chat or len(prompt) == 1 else BREAK


def with_room(
    ids: Sequence[list[int]], limit: int | None, max_new_tokens: int
) -> tuple[list[int], dict[int, Completion]]:
    """The prompts that have room for an answer within the model's limit, by index, and the others' completions.

    A prompt without room is never cut and never silent: its completion says so.
    """
    fits = [index for index, prompt in enumerate(ids) if limit is None or len(prompt) + max_new_tokens <= limit]
    others = sorted(set(range(len(ids))).difference(fits))
    return fits, {index: Completion("", len(ids[index]), 0, "prompt_too_long") for index in others}
