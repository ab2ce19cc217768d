"""Examples before a question: which training rows, how many, and how they stand in the prompt."""

import json

import pytest
from tiny_runs import PROMPT

from text2sql.base.errors import UserError
from text2sql.dataset.examples import Retriever, write_examples
from text2sql.dataset.rows import write_rows
from text2sql.generation.backend import Completion
from text2sql.generation.generate import build_prompts, up_to_break
from text2sql.models.prompts import bare_text, messages, read_templates, with_examples

ZOO = "CREATE TABLE animals (name TEXT, weight INT)"
SHOP = "CREATE TABLE products (name TEXT, price INT)"


def row(key: str, question: str, context: str = ZOO, answer: str = "SELECT 1") -> dict:
    return {"id": key, "question": question, "context": context, "answer": answer, "language": "en", "db_id": "d"}


TRAIN = [
    row("many", "How many animals are there?"),
    row("heavy", "Show animals with a weight over 100."),
    row("dear", "Show products with a price over 5.", SHOP),
    row("same", "How many animals are there?"),
    row("korean", "동물은 모두 몇 마리인가요?"),
]


def nearest(question: str, count: int, context: str = ZOO, **how) -> list[str]:
    return [TRAIN[place]["id"] for place in Retriever(TRAIN).nearest(row("q", question, context), count, **how)]


def test_questions_in_the_same_words_come_first_and_equal_ones_in_the_tables_order():
    assert nearest("How many animals are there?", 2) == ["many", "same"]


def test_a_question_of_like_form_about_other_things_is_found():
    """Names of the schema are masked, so that animals by weight are like products by price."""
    assert nearest("Show houses with a rent over 900.", 2, "CREATE TABLE houses (rent INT)") == ["heavy", "dear"]


def test_a_korean_question_finds_its_like():
    assert nearest("코끼리는 모두 몇 마리인가요?", 1) == ["korean"]


def test_a_training_row_gets_neither_itself_nor_one_that_asks_the_same():
    assert not {"many", "same"} & set(nearest("How many animals are there?", 5, unlike=True))


def test_no_rows_and_no_shots_are_no_examples():
    assert nearest("How many?", 0) == [] and Retriever([]).nearest(TRAIN[0], 3) == []


def test_the_stage_writes_each_questions_examples_and_leaves_an_arm_without_shots_alone(tmp_path):
    train, evaluation = tmp_path / "train.parquet", tmp_path / "eval.parquet"
    write_rows(train, TRAIN)
    write_rows(evaluation, [row("q1", "How many animals are there?"), row("q2", "Show products.", SHOP)])
    written = {}
    for shots in (0, 2):
        write_examples(train, evaluation, shots, tmp_path / "out.jsonl")
        lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
        written[shots] = {line["id"]: [one["id"] for one in line["examples"]] for line in lines}
    assert written[0] == {"q1": [], "q2": []}
    assert written[2]["q1"] == ["many", "same"] and written[2]["q2"][0] == "dear"
    write_rows(train, [])
    with pytest.raises(UserError, match=r"train\.parquet: no rows to take examples from; set shots: 0"):
        write_examples(train, evaluation, 2, tmp_path / "out.jsonl")


# The prompt


def test_an_example_has_the_form_of_the_question_and_the_most_alike_stands_next_to_it():
    templates = read_templates(PROMPT)
    prompt = with_examples(
        row("q", "Mine?"), [row("a", "Near?", answer="A"), row("b", "Far?", answer="B")], templates, PROMPT
    )
    assert [text if len(text) == 1 else text.split("Question:\n")[1].split("\n")[0] for text in prompt] == [
        "Far?", "B", "Near?", "A", "Mine?",
    ]  # fmt: skip
    assert [turn["role"] for turn in messages(prompt)] == ["user", "assistant", "user", "assistant", "user"]
    assert bare_text(prompt).count("\n\nYou are") == 2 and bare_text(prompt).endswith(prompt[-1])


def build(room: int, shots: int = 2):
    """The prompts of two questions where the model has room for so many turns in the first and all in the second."""
    rows = [row("q1", "One?"), row("q2", "Two?")]
    examples = {"q1": TRAIN[:shots], "q2": TRAIN[:shots]}
    return build_prompts(rows, examples, PROMPT, lambda prompt: len(prompt) <= room or "Two?" in prompt[-1], "few")


def test_examples_that_do_not_fit_are_left_out_whole_the_least_alike_first(capsys):
    prompts, used = build(room=3)
    assert used == [["many"], ["many", "heavy"]] and [len(prompt) for prompt in prompts] == [3, 5]
    assert capsys.readouterr().err == "note: 1 prompts of few have room for fewer examples than arms.few.shots\n"
    assert build(room=5)[1] == [["many", "heavy"]] * 2 and capsys.readouterr().err == ""


def test_a_question_that_has_room_for_no_example_is_asked_without():
    assert build(room=1)[1] == [[], ["many", "heavy"]]


def test_shots_that_leave_no_room_anywhere_are_one_line():
    with pytest.raises(UserError, match=r"arms\.few\.shots: the model has no room for one example; set 0"):
        build_prompts([row("q", "One?")], {"q": TRAIN}, PROMPT, lambda prompt: len(prompt) == 1, "few")


def test_a_bare_answer_ends_where_those_of_the_examples_do():
    """What stands behind the blank line is a question that the model makes up."""
    whole = Completion("SELECT 1\n\nYou are a bot", 9, 8, "length")
    cut = Completion("SELECT 1", 9, 8, "stop")
    assert up_to_break(whole, ("a", "b", "c"), chat=False) == cut
    assert up_to_break(whole, ("a",), chat=False) == up_to_break(whole, ("a", "b", "c"), chat=True) == whole
