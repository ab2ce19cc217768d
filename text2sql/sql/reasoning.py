"""Where a model thinks aloud before it answers, and where its answer begins: the marks of today's models.

A mark inside a quoted text is part of that text. A model may leave out the mark that opens, since its chat template
writes that, and one that runs out of tokens the mark that closes.
"""

import re

# The marks that a chat template or a model writes as tokens of their own, by model.
_TAG = r"(?:[a-z]{1,12}[:_])?(?:think|thinking|reasoning|thought)"  # Qwen, DeepSeek, SmolLM, EXAONE, Seed-OSS, LongCat
_NAMES = "START_THINKING|begin_of_thought|inner_prefix"  # Command A, OpenThinker, Apertus
_ENDS = "END_THINKING|end_of_thought|inner_suffix"
_CHANNEL = r"<\|channel\|?>\s*+"  # gpt-oss; Gemma 4 without the second bar
_TO = r"[^<\n]{0,80}+(?:<\|constrain\|>[^<\n]{0,80}+)?+"  # whom a channel speaks to, and in which format
_OPENS = rf"""(?: <(?i:{_TAG})> | <\|(?:{_NAMES})\|> | ◁think▷ | \A\s*+\[THINK\]
    | {_CHANNEL}(?:analysis|commentary|thought){_TO}(?:<\|message\|>)?+ | ^\W{{0,4}}+Here\ is\ my\ thought\ process:
    # gpt-oss without its special tokens: the channel's name stands before the first word.
    | \A\s*+(?:analysis|commentary)(?=[\w"'`*<(\[])
)"""
_CLOSES = rf"""(?: </(?i:{_TAG})> | <\|(?:{_ENDS})\|> | ◁/think▷ | \[/THINK\] | <channel\|>
    | {_CHANNEL}final{_TO}<\|message\|> | ^\W{{0,4}}+Here\ is\ my\ response:[*\ \t]*+
    | assistantfinal(?!\s*+[,)=<>.]|\s++(?i:from|as)\b) | \A\s*+final(?=[A-Z`(*]|select\b|with\b|[^\x00-\x7f])
)"""
# Quoted text: on one line in prose, where an apostrophe between letters is none; over lines in a statement.
_PROSE, _SQL = (
    "|".join(rf"(?<![\w{quote}]){quote}(?:[^{quote}{line}]|{quote}{quote})*+{quote}(?!\w)" for quote in "'\"")
    for line in (r"\n", "")
)
_MARKS = [
    re.compile(rf"(?P<quoted>{quoted})|(?P<opens>{_OPENS})|(?P<closes>{_CLOSES})", re.VERBOSE | re.MULTILINE)
    for quoted in (_PROSE, _SQL)
]
_STATEMENT = re.compile(r"\s*+(?:```(?:sql)?+\s*+)?(?:select|with)\b", re.IGNORECASE)
_MARK_TOKEN = re.compile(
    rf"</?(?i:{_TAG})>|<\|(?:{_NAMES}|{_ENDS})\|>|\[/?THINK\]|◁/?think▷"
    r"|<\|channel\|?>|<channel\|>|<\|(?:start|end|message|constrain)\|>"
)
_OPEN_AT_END = re.compile(rf"(?:<(?i:{_TAG})>|<\|(?:{_NAMES})\|>|\[THINK\]|◁think▷)\s*\Z")


def answers(text: str) -> list[tuple[int, int]]:
    """The parts of a text, (start, end), that are no reasoning, the last first; empty where it never stops thinking.

    A mark that closes ends a reasoning that the prompt opened, where nothing opens it before. Its time grows with the
    text's length.
    """
    parts: list[tuple[int, int]] = []
    start, position, inside = 0, 0, False
    while True:
        pattern = _MARKS[not inside and _STATEMENT.match(text, position) is not None]
        mark = next((mark for mark in pattern.finditer(text, position) if mark.lastgroup != "quoted"), None)
        if mark is None:
            break
        if mark.lastgroup == "closes":
            if not inside:
                parts = []  # all before it was reasoning
            start, inside = mark.end(), False
        elif not inside:
            parts.append((start, mark.start()))
            inside = True
        position = mark.end()
    if not inside:
        parts.append((start, len(text)))
    return parts[::-1]


def is_mark(token: str) -> bool:
    """Whether a special token marks where reasoning begins or ends, so that an answer's text must keep it."""
    return _MARK_TOKEN.fullmatch(token) is not None


def opened_by(prompt: str) -> str:
    """The mark at a prompt's end behind which the model already reasons, or nothing."""
    found = _OPEN_AT_END.search(prompt, max(0, len(prompt) - 60))
    return found[0].strip() if found else ""
