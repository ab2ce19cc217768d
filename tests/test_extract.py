"""Extraction: which statement is taken from what a model wrote, and whether anything had to be cut."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text2sql.sql.extract import extract
from text2sql.sql.tokens import tokens

Q = "SELECT b FROM t WHERE a = 1"


@pytest.mark.parametrize("text", [Q, f"{Q};", f"\n  {Q} ;\n", f"-- the b\n{Q}"])
def test_a_bare_statement_is_valid_format(text):
    extracted = extract(text)
    assert extracted.format_valid and extracted.outcome is None
    assert extracted.sql == text.strip().rstrip("; ")


@pytest.mark.parametrize(
    "text",
    [
        f"```sql\n{Q};\n```",
        f"```\n{Q}\n```",
        f"```SQL {Q}```",
        f"~~~sql\n{Q}\n~~~",
        f"Sure, select the b:\n```sqlite\n{Q}\n```\nor\n```sql\nSELECT 2\n```",
        f"The table:\n```\nt(a, b)\n```\n```sql\n{Q}\n```",
        f"```python\nprint('SELECT 2')\n```\n{Q}",
        f"{Q}\n```\n\nNext question\n```sql\nSELECT 2\n```",
        f"{Q}\n```\nIt's the answer.",
        f"Select the rows where a = 1:\n```\n{Q}\n```",
        f"SQL: {Q}",
        f"**SQL query:** {Q}",
        f"A: {Q}",
        f"정답: {Q}",
        f"1. {Q}",
        f"sqlite> {Q}",
        f"<sql>{Q}</sql>",
        f"The query is `{Q}`.",
        f"With the given schema:\n{Q}",
        f"Update the table? No need.\n{Q}",
        f"{Q}; -- done",
        f"{Q}; {Q};",
        f"{Q};\n\n### SQL 봇:\nSELECT",
        f"{Q}\n\nThis query's result is b.",
        f"{Q}\nThis query selects b.",
        f"{Q}\n\nWhere a is the key.",
        f"{Q}<|im_end|>",
        f"<think>Or SELECT 2;</think>\n{Q}",
        f"because SELECT 2 is wrong</think>{Q}",
        f"The answer is: {Q}",
        f"The answer is: {Q}.",
        f"Note: the query that gives it is as follows: `{Q}`.",
        f"To find b, do this: select all that match. So the right one is: {Q};",
        f"그 값을 찾으려면 다음과 같이 합니다: {Q}",
    ],
)
def test_the_statement_is_cut_out(text):
    extracted = extract(text)
    assert (extracted.sql, extracted.format_valid, extracted.outcome) == (Q, False, None)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT b\n\nFROM t\n\nWHERE a = 1",
        "SELECT b\nFROM t\n  x\nWHERE a = 1",
        "SELECT t.b\nFROM t\n  x\nWHERE a = 1 AND\n  b = 2",
        "SELECT\n  b\nFROM\n  t\nORDER BY\n  b\nDESC\nLIMIT 1",
        "SELECT 'it''s; ok' FROM t",
        "SELECT 'C:\\' FROM t",
        'SELECT "a;b" FROM [c;d] WHERE `e;f` = 1',
        "SELECT a -- don't; stop\nFROM t",
        "SELECT a /* it's; */ FROM t",
        "SELECT '```' FROM t",
        "SELECT 'x\n\nThis is text' FROM t",
        "WITH RECURSIVE c(x) AS (SELECT 1) SELECT x FROM c",
        "VALUES (1, 'x')",
        "DROP TABLE t",
        "EXPLAIN SELECT 1",
        "PRAGMA table_info(t)",
    ],
)
def test_a_statement_is_taken_whole(sql):
    for text in (sql, f"{sql};", f"{sql};\nSELECT 2", f"```sql\n{sql}\n```"):
        assert extract(text).sql == sql, text


@pytest.mark.parametrize(
    "text",
    [
        *("", ";", "-- nothing", ".shell id", "I cannot answer.", "Select the best one.", "<think>" + Q),
        *(
            "Next: select one of them",
            "It is 12:30: with care",
            "Do this: select a name and an age",
            "So: select all that",
        ),
    ],
)
def test_no_statement_is_no_sql(text):
    extracted = extract(text)
    assert (extracted.sql, extracted.format_valid, extracted.outcome) == (None, False, "no_sql")


@pytest.mark.parametrize(
    "broken", ["SELECT b FROM t WHERE b = 'x", "SELECT b FROM t WHERE a IN (1,", "SELECT b FROM t\nWHERE a ="]
)
def test_what_breaks_off_is_truncated_and_never_mended(broken):
    assert extract(broken).outcome == "truncated"
    assert extract(f"```sql\n{broken}").outcome == "truncated"


def test_a_token_limit_spoils_only_the_statement_it_cuts():
    assert extract(Q, truncated=True).outcome == "truncated"
    assert extract(f"{Q};\nSELECT", truncated=True).outcome is None
    assert extract(f"```sql\n{Q}\n```\nThis", truncated=True).outcome is None
    assert extract("I think that", truncated=True).outcome == "truncated"


def test_backslashes_escape_where_the_dialect_says_so():
    text = r"SELECT 'it\'s; so' FROM t; x"
    assert extract(text, dialect="mysql").sql == r"SELECT 'it\'s; so' FROM t"
    assert extract(text).sql == r"SELECT 'it\'s"


def test_tokens_cover_the_text():
    text = "SELECT 'a''b', \"c\", `d`, [e f], 1.5e-3, x.y -- z\n/* w */ FROM t WHERE a<=b||'"
    found = list(tokens(text))
    assert "".join(token.text for token in found) == text
    kinds = {token.text: token.kind for token in found}
    assert [kinds[t] for t in ("'a''b'", "[e f]", "1.5e-3", "-- z", "/* w */", "<=", "||", "'")] == [
        "literal", "name", "number", "comment", "comment", "operator", "operator", "open",
    ]  # fmt: skip


def test_prose_ends_a_statement_at_the_longest_text_that_is_sql():
    alias = "SELECT x.b\nFROM t\n  x\nWHERE a = 1"
    assert extract(f"{alias}\nThis is the b.").sql == alias
    assert extract(f"{alias}\n\nThis\n\nis the b.").sql == alias
    assert extract(f"{Q}\n\nOutput\n\nb").sql == Q


def test_lower_case_behind_a_colon_must_be_sql():
    assert extract("the result is: select b from t").sql == "select b from t"
    assert extract("the result is: select b from t where b in (").outcome == "truncated"


# Reasoning

DRAFT = "SELECT 2 FROM draft"


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{DRAFT};</think>{Q}",
        f"[THINK]Maybe\n{DRAFT};\nno.[/THINK]{Q};",
        f"<seed:think>{DRAFT}<seed:cot_budget_reflect>half</seed:cot_budget_reflect></seed:think>{Q}",
        f"<longcat_think>{DRAFT}</longcat_think>{Q}",
        f"<|channel|>analysis<|message|>{DRAFT};<|end|><|start|>assistant<|channel|>final<|message|>{Q}<|return|>",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|>assistant<|channel|>final <|constrain|>sql<|message|>{Q}",
        f"analysisMaybe\n{DRAFT};\nno.assistantfinal{Q};",
        f"analysisMaybe {DRAFT}assistantcommentarySo {DRAFT};assistantfinalthe query:\n{Q}",
        f"final{Q}",
        f"<|channel>thought\n{DRAFT};\n<channel|>{Q}",
        f"<|START_THINKING|>{DRAFT};<|END_THINKING|><|START_RESPONSE|>{Q}<|END_RESPONSE|>",
        f"<|begin_of_thought|>{DRAFT}<|end_of_thought|><|begin_of_solution|>{Q}<|end_of_solution|>",
        f"<|inner_prefix|>{DRAFT}<|inner_suffix|>{Q}",
        f"Here is my thought process:\n\n{DRAFT};\n\nHere is my response:\n\n{Q};",
        f"<think>{DRAFT}</think><response>{Q}</response>",
        f"◁think▷{DRAFT}◁/think▷{Q}",
        f"{DRAFT}, and it's wrong\n</think>\n{Q}",
        f"<think>{DRAFT}</think>Again.<think>{DRAFT}</think>{Q}",
        f"<think>the user's 'x' </think>\n{Q};",
        f"{Q};\n<think>{DRAFT}",
        f"{Q};\n<think>{DRAFT}</think>",
    ],
)
def test_the_statement_behind_the_reasoning_counts(text):
    extracted = extract(text)
    assert (extracted.sql, extracted.format_valid, extracted.outcome) == (Q, False, None)


@pytest.mark.parametrize(
    "opening",
    [
        *("<think>", "[THINK]", "<seed:think>", "<|START_THINKING|>", "<|channel>thought\n", "analysis"),
        *("<|channel|>analysis<|message|>", "Here is my thought process: ", "Hm.</think><think>"),
    ],
)
def test_a_draft_in_a_reasoning_that_is_cut_off_never_counts(opening):
    assert extract(f"{opening}Maybe\n{DRAFT};\n") == extract("")
    assert extract(f"{opening}Maybe\n{DRAFT};\n", truncated=True).outcome == "truncated"


@pytest.mark.parametrize("mark", ["<think>", "</think>", "[THINK]", "[/THINK]", "</seed:think>", "assistantfinal"])
def test_a_mark_in_a_quoted_text_is_text(mark):
    for sql in (f"SELECT b FROM t WHERE a = '{mark}'", f"SELECT b FROM t WHERE a = 'x\n{mark}\ny'"):
        for text in (sql, f"```sql\n{sql}\n```", f"<think>{DRAFT}</think>{sql};"):
            assert extract(text).sql == sql, text
    assert extract(f'SELECT "{mark}" FROM t').sql == f'SELECT "{mark}" FROM t'


def test_words_that_are_no_marks():
    for text in ("analysis of it:\nSELECT b FROM t", "final answer: SELECT b FROM t", "SELECT b FROM t"):
        assert extract(text).sql == "SELECT b FROM t"
    assert extract("SELECT [THINK], assistantfinal FROM t").sql == "SELECT [THINK], assistantfinal FROM t"


FRAGMENTS = [
    *(
        "(",
        ")",
        "'",
        '"',
        "`",
        "[",
        "]",
        ";",
        ":",
        "/*",
        "*/",
        "--",
        " ",
        "\n",
        "\t",
        "\\",
        "\\'",
        "<",
        ">",
        "|",
        "*",
        ",",
    ),
    *("- ", "1. ", ".", "a", "1", "it's ", "```", "~~~", "```sql\n", "```\n`", "``` ` ", "/* */", "-- a\n", "<a>"),
    *(
        "<think>",
        "</think>",
        "</think>'",
        "assistantfinal",
        "<|channel|>analysis",
        "[/THINK] '",
        "<|im_end|>",
        "\ufeff",
        "SQL: ",
        "answer: ",
        "sqlite> ",
        "SELECT ",
        "select the ",
        "정답: ",
    ),
    *("`select ", ": select ", ": SELECT ", "SELECT a FROM t\n", "This is prose.\n", "with x as (", "create unique "),
    *("explain ", "update or ", "CASE WHEN ", "UNION ", "WHERE it's '", "begin ", "Select\n", "select\n\n", "vacuum\n"),
]
LENGTH = 40_000


def seconds(text: str) -> float:
    """Processor time of extracting from a text and from the same text behind a statement."""
    begun = time.process_time()
    for whole in (text, "SELECT a FROM t\n" + text, f"```\n{text}"):
        extract(whole)
        extract(whole, dialect="mysql")
    return time.process_time() - begun


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_fragment_repeated_without_end_is_read_in_no_time(fragment):
    """About 0.1 s at this length; what grows with the square of it takes minutes."""
    assert seconds(fragment * (LENGTH // len(fragment))) < 5


@given(st.lists(st.sampled_from(FRAGMENTS), min_size=2, max_size=5), st.sampled_from(FRAGMENTS))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_mixture_of_fragments_is_read_in_no_time(mixture, end):
    pattern = "".join(mixture)
    assert seconds(pattern * (LENGTH // len(pattern)) + end + Q) < 5
