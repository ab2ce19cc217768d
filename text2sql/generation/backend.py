"""The protocol that every backend of generation follows."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    pass


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


def with_room(ids: Sequence[list[int]], limit: int, max_new_tokens: int) -> tuple[list[int], dict[int, Completion]]:
    """The prompts that have room for an answer within the model's limit, by index, and the others' completions.

    A prompt without room is never cut and never silent: its completion says so.
    """
    fits = [index for index, prompt in enumerate(ids) if len(prompt) + max_new_tokens <= limit]
    others = sorted(set(range(len(ids))).difference(fits))
    return fits, {index: Completion("", len(ids[index]), 0, "prompt_too_long") for index in others}
