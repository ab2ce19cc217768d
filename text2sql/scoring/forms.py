"""Two forms of one model (adapter, merged, quantised, served) on the same questions: how many answers changed."""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from text2sql.scoring.stats import Equivalence, equivalence


class Answered(NamedTuple):
    """A raw text and whether it is right; None where the gold could not be scored against."""

    text: str
    right: bool | None


class Changed(NamedTuple):
    """What of `before` is different in `after`. Verdicts are those of the questions that both have one for."""

    questions: int
    texts: int  # raw texts that differ
    verdicts: int  # questions with a verdict
    won: int  # wrong before, right after
    lost: int  # right before, wrong after
    equivalence: Equivalence | None  # of the verdicts; None where there are none


def compare_texts(
    before: Mapping[str, Answered], after: Mapping[str, Answered], databases: Mapping[str, Hashable], margin: float
) -> Changed:
    """How many raw texts and verdicts changed from one form to the other, and whether EX is equal within `margin`.

    Mappings by question id; databases: what each question is about; margin: a share, 0.05 for five points. Raises
    ValueError when the two did not answer the same questions.
    """
    if before.keys() != after.keys():
        raise ValueError(f"{len(before.keys() ^ after.keys())} questions have an answer of one form alone")
    scored = [name for name in before if before[name].right is not None and after[name].right is not None]
    pairs = [(bool(before[name].right), bool(after[name].right)) for name in scored]
    about = [databases[name] for name in scored]
    one, other = [first for first, _ in pairs], [second for _, second in pairs]
    return Changed(
        questions=len(before),
        texts=sum(before[name].text != after[name].text for name in before),
        verdicts=len(pairs),
        won=pairs.count((False, True)),
        lost=pairs.count((True, False)),
        equivalence=equivalence(one, other, about, margin) if pairs else None,
    )
