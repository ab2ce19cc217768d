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


SHOP = "CREATE TABLE shop (id INTEGER, name TEXT, city TEXT, price REAL); CREATE TABLE sale (shop_id INT, day DATE);"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ('SELECT COUNT(*) FROM shop WHERE city = "Seoul"', "SELECT COUNT(*) FROM shop WHERE city = 'Seoul'"),
        ("SELECT COUNT(*) FROM `shop` WHERE `city` = 'Seoul'", "SELECT COUNT(*) FROM shop WHERE city = 'Seoul'"),
        (
            "SELECT COUNT(1) AS n FROM shop AS s WHERE s.city = 'Seoul'",
            "SELECT COUNT(*) FROM shop WHERE city = 'Seoul'",
        ),
        (
            "SELECT name FROM shop WHERE price > 5 AND city = 'Jeju'",
            "SELECT name FROM shop WHERE 'Jeju' = city AND 5 < price",
        ),
        ("SELECT name FROM shop WHERE city IN ('a', 'b')", 'SELECT "name" FROM Shop WHERE (city IN ("b", "a"))'),
        (
            "SELECT a.name FROM shop a INNER JOIN sale b ON b.shop_id = a.id ORDER BY a.name ASC",
            "SELECT t1.name FROM shop AS t1 JOIN sale AS t2 ON t1.id = t2.shop_id ORDER BY t1.name",
        ),
        (
            "SELECT city, COUNT(*) AS n FROM shop GROUP BY city ORDER BY n",
            "SELECT city, COUNT(*) FROM shop GROUP BY city ORDER BY COUNT(*)",
        ),
    ],
)
def test_sql_that_is_only_written_otherwise_leaks(answer, gold):
    schema = SHOP.replace("INTEGER", "INT").replace("TEXT", "VARCHAR(20)").replace("shop (", '"shop" (')
    (leak,) = find_leaks([Texts("t", schema, "Tell me.", answer)], [Texts("e", SHOP, "How is it?", gold)])
    assert leak.kind == "sql_rewritten"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("SELECT COUNT(*) FROM shop WHERE city = 'Busan'", "SELECT COUNT(*) FROM shop WHERE city = 'Seoul'"),
        ("SELECT name FROM shop WHERE price < 5", "SELECT name FROM shop WHERE price > 5"),
        ("SELECT name FROM shop WHERE price - id > 5", "SELECT name FROM shop WHERE id - price > 5"),
        ("SELECT COUNT(name) FROM shop", "SELECT COUNT(*) FROM shop"),
        ("SELECT DISTINCT city FROM shop", "SELECT city FROM shop"),
        ("SELECT name FROM shop ORDER BY price DESC", "SELECT name FROM shop ORDER BY price"),
        (
            "SELECT name FROM shop WHERE city = 'a' OR id = 1 AND price = 2",
            "SELECT name FROM shop WHERE (city = 'a' OR id = 1) AND price = 2",
        ),
        (
            "SELECT s.id FROM shop s LEFT JOIN sale b ON s.id = b.shop_id",
            "SELECT s.id FROM shop s JOIN sale b ON s.id = b.shop_id",
        ),
        (
            "SELECT a.id FROM shop a JOIN shop b ON a.id = b.price",
            "SELECT b.id FROM shop a JOIN shop b ON a.id = b.price",
        ),
    ],
)
def test_sql_that_asks_something_else_does_not(answer, gold):
    assert find_leaks([Texts("t", SHOP, "Tell me.", answer)], [Texts("e", SHOP, "How is it?", gold)]) == []


def test_schemas_are_equal_up_to_the_spelling_of_types_and_names():
    spelled = 'CREATE TABLE IF NOT EXISTS "T" (`a` BIGINT UNSIGNED, b CHARACTER VARYING(20), c DOUBLE PRECISION);'
    assert normal_schema(spelled) == normal_schema("create table t (a int, b text, c real)")
    assert normal_schema("CREATE TABLE t (a INT)") != normal_schema("CREATE TABLE t (a TEXT)")


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


def test_looking_for_near_duplicates_keeps_little_of_the_questions_looked_at():
    """Of the last thousand; those of a million rows would take gigabytes."""
    import tracemalloc

    words = random.Random(3)
    near = NearDuplicates([("e", "how many singers are there")])
    held = []
    tracemalloc.start()
    for _ in range(2):
        for _ in range(1500):
            near.find(words.randbytes(40).hex())
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] < 1.1 * held[0]


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
