"""What gives an evaluation row away, however it is written."""

import random

import pytest

from text2sql.dataset.leaks import (
    NEAR,
    NearDuplicates,
    Texts,
    find_leaks,
    normal_question,
    normal_schema,
    normal_sql,
    trigrams,
)

DDL = "CREATE TABLE t (a INT, b TEXT);"


@pytest.mark.parametrize(
    "question, answer, context, kind",
    [
        ("Which a are there?", "SELECT 1", DDL, "question_exact"),
        ("which  A are there", "SELECT 1", DDL + " INSERT INTO t VALUES (1, 'CREATE; x');", "question_normalised"),
        ("Show every a.", "select A from t;", "create table T (A int, B text)", "sql"),
        ("Which a are there?", "SELECT 1", "CREATE TABLE u (a INT);", "question_near"),
        ("Show every a.", "SELECT b FROM t", DDL, None),
        ("Show every a.", "SELECT a FROM t", "CREATE TABLE t (a INT, c TEXT);", None),
    ],
)
def test_each_kind_of_leak_is_found(question, answer, context, kind):
    evaluation = [Texts("e", DDL, "Which a are there?", "SELECT a FROM t")]
    found = find_leaks([Texts("t", context, question, answer)], evaluation)
    assert [(leak.train, leak.eval, leak.kind) for leak in found] == ([("t", "e", kind)] if kind else [])


def test_near_duplicates_are_those_that_a_full_comparison_finds():
    rng = random.Random(2)
    words = ["which", "player", "scored", "most", "goals", "in", "the", "final", "season", "at", "home", "number"]
    texts = [" ".join(rng.choices(words, k=rng.randrange(1, 14))) for _ in range(300)]
    texts += [text + rng.choice(["s", " x", "?", " 1"]) for text in texts[:150]]
    rng.shuffle(texts)
    added, asked = texts[:200], texts[200:]
    near = NearDuplicates((text, text) for text in added)

    def jaccard(a: str, b: str) -> float:
        return len(trigrams(a) & trigrams(b)) / len(trigrams(a) | trigrams(b))

    expected = [any(jaccard(text, other) >= NEAR for other in added) for text in asked]
    assert [near.find(text) is not None for text in asked] == expected
    assert 20 < sum(expected) < len(asked)


def test_near_duplicates_in_korean_go_by_syllables():
    question = "지난 시즌 홈 경기에서 가장 많은 골을 넣은 선수의 이름과 등번호를 모두 보여주세요"
    near = NearDuplicates([("e", question)])
    assert near.find(question.replace("주세요", "주세용")) == "e"
    assert near.find("지난 시즌 원정 경기에서 가장 적은 골을 넣은 감독의 나이를 모두 보여주세요") is None


# Normal forms


@pytest.mark.parametrize(
    "sql, same",
    [
        ("SELECT a FROM t", "select  A\nfrom T ;"),
        ("SELECT a -- why\nFROM t", "SELECT a /* x */ FROM t"),
        ("SELECT COUNT(*)>1 FROM t", "select count( * ) > 1 from t"),
    ],
)
def test_normal_sql_forgets_case_space_and_comments(sql, same):
    assert normal_sql(sql) == normal_sql(same)


@pytest.mark.parametrize(
    "sql, other",
    [
        ("SELECT 'A'", "SELECT 'a'"),
        ("SELECT 'a  b'", "SELECT 'a b'"),
        ("SELECT '--x'", "SELECT '--y'"),
        ("SELECT ab", "SELECT a b"),
    ],
)
def test_normal_sql_keeps_literals_and_words(sql, other):
    assert normal_sql(sql) != normal_sql(other)


def test_normal_schema_forgets_the_rows_alone():
    rows = DDL + " INSERT INTO t VALUES (1, 'it''s; CREATE TABLE u'); replace into t values (2, 'y');"
    assert normal_schema(rows) == normal_schema(DDL)
    trigger = " CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO t VALUES (new.a, 'x'); END;"
    assert normal_schema(DDL + trigger) != normal_schema(DDL)
    assert normal_schema(DDL + " CREATE TABLE u (a INT);") != normal_schema(DDL)


def test_normal_question_forgets_case_width_and_punctuation():
    assert normal_question("How MANY １２, really?!") == "how many 12 really"
