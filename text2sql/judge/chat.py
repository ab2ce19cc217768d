"""The chat transport: each request by itself, until its answer can be read or there are enough of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from text2sql.base.endpoint.client import CHAT, Client, Traffic
from text2sql.base.endpoint.failures import NoAnswer, Refused
from text2sql.base.errors import UserError
from text2sql.base.params import JudgeParams
from text2sql.judge.cache import AnswerStore
from text2sql.judge.requests import endpoint_of, read_answer

UNREADABLE_AT_FIRST = 20  # answers, and none that can be read, that end a run before it pays for more


@dataclass
class JudgeTraffic(Traffic):
    """Traffic, and how many of its answers could not be read. readable: whether any could, now or in an earlier run."""

    unreadable: int = 0
    readable: bool = False
    why: str = ""  # the last answer could not be read

    def read(self, answer: dict[str, Any], params: JudgeParams) -> None:
        """Books whether an answer can be read."""
        verdict = read_answer(params.template, answer)
        if isinstance(verdict, str):
            self.unreadable += 1
            self.why = verdict
            if answer["finish_reason"] == "length":
                self.why += ", cut at judge.max_tokens"
        else:
            self.readable = True

    def check(self, params: JudgeParams) -> None:
        """Raises UserError when the first answers could none of them be read: paying for more would change nothing."""
        if self.readable or self.unreadable < UNREADABLE_AT_FIRST:
            return
        if "max_tokens" in self.why or self.why.startswith(("empty", "thoughts")):
            remedy = (
                f"raise judge.max_tokens ({params.max_tokens}; a model that thinks needs thousands),"
                " or have it think less with judge.reasoning_effort"
            )
        elif self.why.startswith("refused"):
            remedy = "ask another judge.model"
        else:
            remedy = "set judge.response_format to true if the server knows it, or ask another judge.model"
        raise UserError(
            f"{params.base_url}: none of the first {self.unreadable} answers could be read, the last: {self.why};"
            f" {remedy}, and run again"
        )


async def ask_all(
    requests: Iterable[tuple[str, str]],
    store: AnswerStore,
    params: JudgeParams,
    traffic: JudgeTraffic,
    answered: bool,
    progress: tqdm,
) -> None:
    """Asks every request (key, encoded body) until the store holds a readable answer or `max_asks` answers for it.

    Requests are drawn as workers become free, so memory does not grow with their number. A request that was refused or
    given up is reported in the traffic. answered: whether the store has answers of this server. Raises UserError when
    going on is useless.
    """
    async with Client(endpoint_of(params), traffic, answered) as client:

        async def ask(item: tuple[str, str]) -> None:
            request, encoded = item
            try:
                answers = store.answers(request)
                while not client.stopped and not settled(answers, params):
                    answer = await client.ask(CHAT, encoded.encode(), params.max_tokens)
                    store.append(request, answer)
                    await store.synced()
                    answers.append(answer)
                    traffic.read(answer, params)
                    traffic.check(params)
            except Refused as refusal:
                traffic.refused[request] = str(refusal)
            except NoAnswer as failure:
                traffic.given_up[request] = f"{failure} (after {params.max_attempts} attempts)"
            progress.set_postfix(retries=traffic.retries.total(), given_up=len(traffic.given_up), refresh=False)
            progress.update()

        await client.for_each(requests, ask)


def settled(answers: list[dict[str, Any]], params: JudgeParams) -> bool:
    """Whether a request needs no further asking: its last answer can be read, or it was asked often enough.

    An answer that a content filter withheld would be withheld again.
    """
    if not answers or len(answers) >= params.max_asks:
        return bool(answers)
    return answers[-1]["finish_reason"] == "content_filter" or not isinstance(
        read_answer(params.template, answers[-1]), str
    )
