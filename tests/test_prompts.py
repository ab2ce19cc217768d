"""One prompt builder: training and generation see the same tokens, and a context is shown as it was written."""

import re
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime

import pytest
from conftest import ROOT

from text2sql.base.errors import UserError
from text2sql.base.params import PromptParams, read_params
from text2sql.dataset.rows import to_table
from text2sql.generation.recall import missing_tables, recall_line
from text2sql.models import load
from text2sql.models.pin import read_pointer
from text2sql.models.prompts import (
    build_prompt,
    completion_ids,
    fill,
    fingerprint,
    prompt_ids,
    read_templates,
    tokenize,
    without_optional,
)
from text2sql.training.finetune import build_examples

FOLDER = ROOT / "prompts"
DDL = "CREATE TABLE singer (id INT, name TEXT)"
ROW = {"id": "1", "context": f"{DDL};", "question": "How many singers?", "answer": "SELECT COUNT(*) FROM singer"}


def config(template="auto", context="schema", chat=False, **changes) -> PromptParams:
    """The project's parameters, but for these."""
    (defaults,) = read_params("prompt", path=ROOT / "params.yaml")
    values = defaults.model_dump(by_alias=True) | {"template": template, "context": context, "chat": chat} | changes
    return PromptParams.model_validate(values)


def prompt_of(row: dict, **changes) -> str:
    chosen = config("en", **changes)
    return build_prompt({"language": "en"} | row, read_templates(chosen, FOLDER), chosen)


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load.load_tokenizer({"source": "folder", "name": str(tiny_model)})


# Templates


def test_auto_picks_the_template_by_the_rows_language():
    templates = read_templates(config(), FOLDER)
    english, korean, other, unknown = (
        build_prompt(ROW | {"language": language}, templates, config()) for language in ("en", "ko", "fr", None)
    )
    assert english.startswith("You are a bot") and korean.startswith("당신은 SQL을 생성하는 SQL 봇입니다.")
    assert other == unknown == english
    for prompt in (english, korean):
        assert f"### DDL:\n{DDL};\n" in prompt and "### Question:\nHow many singers?\n" in prompt
        assert prompt.endswith("### SQL:\n")


@pytest.mark.parametrize("template", ["en", "ko"])
def test_a_named_template_serves_every_language(template):
    templates = read_templates(config(template), FOLDER)
    assert templates["en"] == templates["ko"] == (FOLDER / f"{template}.txt").read_text(encoding="utf-8")


def test_braces_in_the_data_stay_braces():
    row = ROW | {"context": "CREATE TABLE t (a TEXT DEFAULT '{question}')", "question": "{context} {0} {{x}}"}
    prompt = build_prompt(row | {"language": "en"}, read_templates(config("en"), FOLDER), config("en", "full"))
    assert "DEFAULT '{question}')" in prompt and "{context} {0} {{x}}" in prompt


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{context} {question} {schema}", "must stand in braces, and nothing else, though {dialect} and {notes} may"),
        ("{context}", "must stand in braces, and nothing else"),
        ("{context} {question} {}", "must stand in braces, and nothing else"),
        ("{context} {question.text}", "must stand in braces, and nothing else"),
        ('{context} {question} {"sql": 1}', "must stand in braces, and nothing else"),
        ("{context} {question} }", "a brace that is meant as text is written twice"),
        ("{context} {question", "a brace that is meant as text is written twice"),
    ],
)
def test_a_template_with_other_fields_is_one_line_that_names_it(text, said, tmp_path):
    (tmp_path / "en.txt").write_text(text)
    with pytest.raises(UserError) as error:
        read_templates(config("en"), tmp_path)
    assert str(error.value).startswith(f"{tmp_path}/en.txt: ") and said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_template_is_one_line_that_names_it(tmp_path):
    shutil.copy(FOLDER / "en.txt", tmp_path)
    with pytest.raises(UserError, match=r"ko\.txt: no such template; fix prompt\.template"):
        read_templates(config(), tmp_path)


# Contexts


def test_a_full_context_keeps_its_inserts():
    row = ROW | {"context": f"{DDL}; INSERT INTO singer VALUES (1, 'a');", "language": "en"}
    templates = read_templates(config(), FOLDER)
    assert "INSERT INTO singer" in build_prompt(row, templates, config(context="full"))
    assert "INSERT" not in build_prompt(row, templates, config(context="schema"))


def test_the_default_prompt_is_the_same_to_the_byte_as_before_there_were_notes():
    """Of a row in SQLite's dialect without notes: what the quickstart's models were trained on."""
    start = "You are a bot that writes SQL. Write one SQL query that answers the Question with the tables of the DDL."
    for row in (ROW, ROW | {"notes": None, "dialect": "sqlite", "database": None, "db_id": "d"}):
        assert prompt_of(row) == f"{start}\n\n### DDL:\n{DDL};\n\n### Question:\nHow many singers?\n\n### SQL:\n"


# Notes and the dialect


def test_notes_are_shown_where_a_row_brings_them():
    row = ROW | {"notes": " a singer is {any} artist "}
    assert "\n\n### Notes:\na singer is {any} artist\n\n### Question:\n" in prompt_of(row)
    assert prompt_of(row, notes=False) == prompt_of(ROW | {"notes": "  "}) == prompt_of(ROW)


def test_notes_without_a_place_in_the_template_are_one_line():
    row = ROW | {"notes": "x", "language": "en"}
    with pytest.raises(UserError, match=r"no \{notes\}, and rows bring some; add it .* or set prompt.notes: false"):
        build_prompt(row, {"en": "{context} {question}"}, config())
    assert build_prompt(row, {"en": "{question}"}, config(notes=False)) == "How many singers?"


def test_the_dialect_is_named_where_it_does_not_go_without_saying():
    row = ROW | {"dialect": "postgres"}
    assert "\n\n### Dialect:\nPostgreSQL\n\n### DDL:\n" in prompt_of(row)
    assert "Dialect" not in prompt_of(row, dialect=False)
    assert "### Dialect:\nSQLite\n" in prompt_of(ROW, dialect=True)


def test_a_template_without_the_dialect_that_is_asked_for_is_one_line(tmp_path):
    (tmp_path / "en.txt").write_text("{context} {question}")
    with pytest.raises(UserError, match=r"en\.txt: \{dialect\} is missing, which prompt\.dialect asks for; add it"):
        read_templates(config("en", dialect=True), tmp_path)
    assert read_templates(config("en"), tmp_path)["en"] == "{context} {question}"


def test_a_card_shows_a_template_that_two_fields_fill():
    for template in read_templates(config(), FOLDER).values():
        plain = without_optional(template)
        assert plain.format(context="C", question="Q") == fill(template, {"context": "C", "question": "Q"})


# The schema

SHOP = """CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, name TEXT, /* who */ born DATE);
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers(customer_id), state TEXT);
CREATE TABLE order_items (order_id INTEGER REFERENCES orders(order_id), product_id INTEGER REFERENCES products);
CREATE TABLE products (product_id INTEGER PRIMARY KEY, label TEXT);
CREATE TABLE warehouses (warehouse_id INTEGER, place TEXT);
INSERT INTO customers VALUES (1, 'Ada', '1990-01-01'), (2, 'Bo', NULL), (3, 'Ada', NULL), (4, 'It''s', NULL);
INSERT INTO orders VALUES (1, 1, 'open'), (2, 1, 'a state whose name is far too long to be shown in a prompt');"""


def test_values_come_from_the_inserts_of_the_context():
    prompt = prompt_of(ROW | {"context": SHOP}, values=2)
    assert "name TEXT /* e.g. 'Ada', 'Bo' */, /* who */ born DATE)" in prompt
    assert "state TEXT /* e.g. 'open' */)" in prompt and "label TEXT)" in prompt and "INSERT" not in prompt
    assert prompt_of(ROW, values=2) == prompt_of(ROW)


def test_values_come_from_the_rows_own_database(tmp_path):
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SHOP.replace("'Ada'", "'지민'").replace("*/", "").replace("/* who", ""))
    before = path.read_bytes()
    row = ROW | {"context": SHOP, "database": str(path)}
    assert "name TEXT /* e.g. '지민', 'Bo', 'It''s' */" in prompt_of(row, values=3)
    other = ROW | {"context": "CREATE TABLE other (name TEXT);", "database": str(path)}
    assert "CREATE TABLE other (name TEXT);" in prompt_of(other, values=3)  # not in the file, so nothing is known of it
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["shop.sqlite"]
    for broken, said in ((tmp_path / "none", "no such database file"), (ROOT / "params.yaml", "cannot be read as")):
        with pytest.raises(UserError, match=said):
            prompt_of(row | {"database": str(broken)}, values=3)


def test_m_schema_lists_a_column_a_line():
    context = prompt_of(ROW | {"context": SHOP, "db_id": "shop"}, schema_format="m-schema", values=2)
    block = (
        "【DB_ID】 shop\n【Schema】\n# Table: customers\n[\n(customer_id:INTEGER, Primary Key),\n"
        "(name:TEXT, who, Examples: [Ada, Bo]),\n(born:DATE)\n]\n# Table: orders\n"
    )
    assert f"### DDL:\n{block}" in context
    links = "orders.customer_id=customers.customer_id\norder_items.order_id=orders.order_id\n\n### Question"
    assert f"\n【Foreign keys】\n{links}" in context


def test_a_cut_schema_shows_the_nearest_tables_and_those_that_join_them():
    row = ROW | {"context": SHOP, "question": "Which customers bought the product label 'x'?"}
    cut = lambda count, **changes: prompt_of(row, schema="cut", schema_tables=count, **changes)  # noqa: E731
    shown = lambda prompt: re.findall(r"CREATE TABLE (\w+)", prompt)  # noqa: E731
    assert shown(cut(1)) == ["products"]
    assert shown(cut(4)) == ["customers", "orders", "order_items", "products"]
    assert shown(cut(9)) == [*shown(cut(4)), "warehouses"]
    assert "name TEXT /* e.g. 'Ada' */, /* who */" in cut(4, values=1)
    noted = prompt_of(row | {"notes": "places are warehouses"}, schema="cut", schema_tables=2)
    assert "warehouses" in shown(noted)  # what the asker knows counts as the question does


def test_types_stay_with_every_cut_and_a_script_that_cannot_be_read_is_shown_whole():
    row = ROW | {"context": "CREATE TYPE mood AS ENUM ('x'); SET y = 1; " + SHOP, "dialect": "postgres"}
    prompt = prompt_of(row, schema="cut", schema_tables=1)
    assert "CREATE TYPE mood AS ENUM ('x');\nCREATE TABLE" in prompt and "SET y" not in prompt
    assert "SET y = 1;\nCREATE TABLE customers" in prompt_of(row, values=1)
    broken = "CREATE TABLE t (a TEXT DEFAULT 'x); CREATE TABLE u (b INT);"
    assert broken in prompt_of(ROW | {"context": broken}, schema="cut", schema_tables=1)


def test_a_cut_counts_the_tables_of_the_golds_that_it_shows():
    answers = {
        "a": "SELECT name FROM customers", "b": "SELECT c.name FROM customers c JOIN warehouses w ON 1 = 1",
        "c": "WITH customers AS (SELECT 1 AS x) SELECT x FROM customers", "d": "SELECT FROM WHERE (",
    }  # fmt: skip
    rows = [{"id": key, "context": SHOP, "question": "customers?", "answer": sql} for key, sql in answers.items()]
    found = missing_tables(rows, config(schema="cut", schema_tables=1))
    assert found == {
        "a": {"gold_tables": 1, "missing_tables": []}, "b": {"gold_tables": 2, "missing_tables": ["warehouses"]},
        "c": {"gold_tables": 0, "missing_tables": []}, "d": {"gold_tables": None, "missing_tables": None},
    }  # fmt: skip
    assert recall_line(found.values()) == (
        "the cut schema shows all of the gold's tables for 1 of 2 questions (50.0 %), 66.7 % of the tables;"
        " 2 golds are not counted, which name no table of their schema"
    )
    assert missing_tables(rows, config()) == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"context": "full", "schema": "cut"}, "context: full shows a script as it is"),
        ({"context": "full", "values": 1}, "context: full shows a script as it is"),
        ({"system": "x"}, "system and chat_kwargs are a chat's; set chat: true or empty them"),
        ({"chat_kwargs": {"enable_thinking": False}}, "system and chat_kwargs are a chat's"),
        ({"chat": True, "chat_kwargs": {"tokenize": False}}, "chat_kwargs: tokenize is set by the pipeline"),
        ({"schema_tables": 0}, "greater than 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        config(**changes)


# Tokens


@pytest.mark.parametrize("chat", [False, True])
def test_training_and_generation_see_the_same_prompt_tokens(chat, tokenizer, monkeypatch):
    monkeypatch.chdir(ROOT)
    prompt = config(chat=chat)
    rows = to_table([ROW | {"language": "ko"}])
    (example,), too_long = build_examples(rows, tokenizer, prompt, 4096)
    asked = prompt_ids((build_prompt(ROW | {"language": "ko"}, read_templates(prompt), prompt),), tokenizer, chat)
    learnt = completion_ids(ROW["answer"], tokenizer)
    assert example["input_ids"] == asked + learnt and too_long == []
    assert example["labels"] == [-100] * len(asked) + learnt


def test_the_end_of_sequence_is_learnt_and_is_not_the_padding(tokenizer):
    learnt = completion_ids("SELECT 1", tokenizer)
    assert learnt[-1] == tokenizer.eos_token_id != tokenizer.pad_token_id
    assert tokenizer.decode(learnt[:-1]) == "SELECT 1"


def test_the_chat_template_wraps_the_prompt_once(tokenizer, monkeypatch):
    text = "### SQL:\n"
    assert tokenizer.decode(prompt_ids((text,), tokenizer, chat=False)) == text
    assert (
        tokenizer.decode(prompt_ids((text,), tokenizer, chat=True)) == "### SQL:\n"
    )  # the tiny template ends a turn so
    template = "<<{{ messages[0]['role'] }}:{{ messages[0]['content'] }}>>"
    monkeypatch.setattr(tokenizer, "chat_template", template)
    assert tokenizer.decode(prompt_ids((text,), tokenizer, chat=True)) == "<<user:### SQL:>>"


def test_a_system_message_stands_before_the_prompt(tokenizer, monkeypatch):
    template = "{% for message in messages %}<{{ message['role'] }}:{{ message['content'] }}>{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", template)
    assert tokenizer.decode(tokenize("Q", tokenizer, config(chat=True, system="S"))) == "<system:S><user:Q>"
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    monkeypatch.setattr(tokenizer, "chat_template", refusing)
    with pytest.raises(UserError, match=r"the model's chat template fails \(no system role\); set prompt\.system"):
        tokenize("Q", tokenizer, config(chat=True, system="S"))


def test_variables_of_a_chat_template_are_set_by_name_and_others_refused(tokenizer, monkeypatch):
    template = (
        "{% if enable_thinking is defined and not enable_thinking %}quick{% endif %}{{ messages[0]['content'] }}"
        "{% generation %}{% endgeneration %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    quick = config(chat=True, chat_kwargs={"enable_thinking": False})
    assert tokenizer.decode(tokenize("Q", tokenizer, quick)) == "quickQ"
    assert tokenizer.decode(tokenize("Q", tokenizer, config(chat=True))) == "Q"
    with pytest.raises(UserError, match=r"chat_kwargs: the model's chat template reads no enable_thnking; remove it"):
        tokenize("Q", tokenizer, config(chat=True, chat_kwargs={"enable_thnking": False}))


def test_a_template_that_asks_for_the_day_is_told_the_same_one_every_day(tokenizer, monkeypatch):
    from transformers.utils import chat_template_utils

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 1, 2)

    template = "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    monkeypatch.setattr(tokenizer, "chat_template", template + "{{ date_string }}: {{ messages[0]['content'] }}")
    monkeypatch.setattr(chat_template_utils, "datetime", Tomorrow)
    assert tokenizer.decode(tokenize("Q", tokenizer, config(chat=True))) == "26 Jul 2024: Q"
    named = config(chat=True, chat_kwargs={"date_string": "1 May 2026"})
    assert tokenizer.decode(tokenize("Q", tokenizer, named)) == "1 May 2026: Q"


@pytest.mark.parametrize(("single", "before", "behind"), [("$A <end>", 0, 1), ("<pad> $A <end> <pad>", 1, 2)])
def test_what_a_tokenizer_puts_behind_a_text_is_no_part_of_a_prompt(single, before, behind, tiny_model):
    from tokenizers.processors import TemplateProcessing

    plain = load.load_tokenizer({"source": "folder", "name": str(tiny_model)})
    ending = load.load_tokenizer({"source": "folder", "name": str(tiny_model)})
    ending.backend_tokenizer.post_processor = TemplateProcessing(
        single=single, special_tokens=[("<pad>", plain.pad_token_id), ("<end>", plain.eos_token_id)]
    )
    for text in ("### SQL:\n", "it ends <end>"):  # a text's own last token stays
        own = plain(text)["input_ids"]
        assert len(ending(text)["input_ids"]) == before + len(own) + behind
        assert prompt_ids(text, ending, chat=False)[before:] == own


def test_the_fingerprint_covers_the_tokens():
    assert fingerprint([1, 2]) == fingerprint((1, 2)) != fingerprint([12])
    assert fingerprint("[1,2]") == fingerprint([1, 2]) and fingerprint("가") != fingerprint("나")


@pytest.mark.pipeline
def test_the_real_models_turn_ends_with_the_assistants_opening(real_model):
    """SmolLM2's own chat template; the completion's last token is the one that ends its turns."""
    tokenizer = load.load_tokenizer(read_pointer(real_model))
    turn = tokenizer.decode(prompt_ids(("Q",), tokenizer, chat=True))
    assert turn.endswith("<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(completion_ids("SELECT 1", tokenizer)) == "SELECT 1<|im_end|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
