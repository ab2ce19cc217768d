"""docs/own_data.md, command by command, with a tiny model of random weights in the real one's place."""

import csv
import re

import pytest
from conftest import ROOT, copy_of, shell_blocks

from text2sql.base.errors import UserError
from text2sql.base.files import read_json, read_jsonl
from text2sql.dataset.rows import read_table
from text2sql.report.figures import compare_arms
from text2sql.sources.records import read_records

pytestmark = pytest.mark.pipeline


def test_the_table_looks_as_the_page_shows_it(tutorial):
    page = (ROOT / "docs/own_data.md").read_text(encoding="utf-8")
    shown = re.search(r"^```bash\nhead .*?^```\n\n```\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[1]
    (printed,) = (output for block, output in zip(shell_blocks(), tutorial.outputs, strict=False) if "head" in block)
    assert printed.removeprefix("\ufeff").splitlines() == shown.splitlines()


def test_every_row_is_kept_or_listed_with_its_reason(tutorial):
    funnel = read_json(tutorial.folder / "data/funnel.json")["train"]
    assert (funnel["read"], funnel["kept"]) == (120, 119)
    assert "no such column: stock" in "".join(tutorial.outputs)


def test_questions_arrive_letter_for_letter(tutorial):
    with open(tutorial.folder / "inputs/questions.csv", encoding="utf-8-sig", newline="") as file:
        pairs = {(row["question"], row["sql"]) for row in csv.DictReader(file)}
    for split in ("train", "eval"):
        table = read_table(tutorial.folder / f"data/selected/{split}.parquet")
        assert set(zip(table.question, table.answer, strict=True)) <= pairs
        assert set(table.language) == {"en", "ko"}
        assert set(table.database) == {"inputs/shop.db"}


def test_answers_are_compared_on_the_database(tutorial):
    scores = list(read_jsonl(tutorial.folder / "data/scores/finetuned.jsonl"))
    assert len(scores) == 30
    assert not {score["outcome"] for score in scores} & {"gold_error", "infra_error"}
    assert "30 questions about 1 database " in tutorial.outputs[-1]
    assert "Nothing follows for other databases from one." in tutorial.outputs[-1]


def test_questions_about_one_database_have_an_interval_too():
    rows = [{"id": str(number)} for number in range(30)]
    scores = {
        arm: [{"ex": number < right, "error": None} for number in range(30)]
        for arm, right in (("base", 5), ("finetuned", 20))
    }
    compared = compare_arms(rows, ["shop"] * 30, scores, {"base": "untrained", "finetuned": "trained"}, "base")
    assert 0.2 < compared["lo"] < compared["gain"] == 0.5 < compared["hi"] < 0.8
    assert compared["headline"] == "these_databases" and compared["databases_like_these"] is None


def test_the_fine_tuned_model_is_asked(tutorial, tmp_path):
    """The tiny model says nothing sensible; what counts is that the command of the page takes the question to it."""
    project = copy_of(tutorial.folder, tmp_path / "project")
    done = project.run("bash", "-euo", "pipefail", "-c", shell_blocks()[-1], check=False)
    assert done.returncode == 0 or done.stderr.splitlines()[-1].startswith("error: the "), done.stderr


def test_a_table_that_is_not_utf8_is_named_with_the_way_out(tmp_path):
    path = tmp_path / "질문.csv"
    path.write_bytes("question,answer\n고객은 몇 명입니까?,SELECT 1\n".encode("cp949"))
    with pytest.raises(UserError, match=r"질문\.csv: .*UTF-8") as error:
        list(read_records(path))
    assert "save it as" in str(error.value) and "\n" not in str(error.value)
