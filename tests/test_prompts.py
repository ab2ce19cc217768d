"""One prompt builder: training and generation see the same tokens, and a context is shown as it was written."""

import shutil

import pytest
from conftest import ROOT

from text2sql.base.errors import UserError
from text2sql.base.params import PromptParams, read_params
from text2sql.dataset.rows import to_table
from text2sql.models import load, preflight
from text2sql.models.prompts import build_prompt, completion_ids, prompt_ids, read_templates
from text2sql.training.finetune import build_examples

FOLDER = ROOT / "prompts"
DDL = "CREATE TABLE singer (id INT, name TEXT)"
ROW = {"id": "1", "context": f"{DDL};", "question": "How many singers?", "answer": "SELECT COUNT(*) FROM singer"}


def config(template="auto", context="schema", chat=False) -> PromptParams:
    return PromptParams(template=template, context=context, chat=chat)


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
        ("{context} {question} {schema}", "must stand in braces, and nothing else"),
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


@pytest.mark.pipeline
def test_the_real_models_turn_ends_with_the_assistants_opening(tmp_path):
    """SmolLM2's own chat template; the completion's last token is the one that ends its turns."""
    (resolve,) = read_params("resolve", path=ROOT / "params.yaml")
    tokenizer = load.load_tokenizer(preflight.resolve(resolve, tmp_path))
    turn = tokenizer.decode(prompt_ids(("Q",), tokenizer, chat=True))
    assert turn.endswith("<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.decode(completion_ids("SELECT 1", tokenizer)) == "SELECT 1<|im_end|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
