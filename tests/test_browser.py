"""What a reader sees in the browser: the explorer clicked through and the plots drawn, in real Chromium, offline."""

import json
import os
from pathlib import Path

import pytest
from conftest import Project
from test_figures import ARMS, CONTEXT, GOLD, OUTCOME, write_run

from text2sql.base.files import read_jsonl, write_json, write_jsonl
from text2sql.dataset.rows import read_table, write_rows
from text2sql.report.explorer import page as explorer_page
from text2sql.report.run import report

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
ATTACK = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not there: install Debian's chromium")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install -e '.[dev]'")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS.split(), timeout=120_000)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """A function that opens a file in a page; afterwards the page had no error and asked for nothing else."""
    contexts, requests, errors = [], [], []

    def open_file(path: Path, fragment: str = "", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}} | options)
        context.set_default_timeout(60_000)
        contexts.append(context)
        tab = context.new_page()
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("dialog", lambda dialog: errors.append(dialog.message))
        tab.goto(path.as_uri() + fragment)
        return tab

    yield open_file
    for context in contexts:
        context.close()
    assert [url for url in requests if not url.startswith(("file://", "data:"))] == [] and errors == []


@pytest.fixture(scope="module")
def explorer(tmp_path_factory) -> Path:
    """The explorer of test_figures' eight questions, some of which say what no page should believe."""
    folder = tmp_path_factory.mktemp("explorer")
    data = write_run(folder / "data")
    rows = read_table(data / "selected/eval.parquet").to_dict("records")
    rows[1]["question"] = f"How many? {ATTACK}"
    rows[1]["domain"] = ATTACK
    rows[2]["language"] = "ko"
    write_rows(data / "selected/eval.parquet", rows)
    generations = list(read_jsonl(data / "generations/base.jsonl"))
    for generation in generations:
        generation["text"] += f"\n{ATTACK} \ud800" if generation["id"] == "q01" else ""
    write_jsonl(data / "generations/base.jsonl", generations)
    for arm in ARMS:
        counts = {"n": 8, "correct": 2, "judge_error": 0, "accuracy": 0.25, "kappa": 0.1}
        write_json(data / f"judgements/{arm}/metrics.json", {"enabled": True, **counts})
        verdict = {"verdict": "cannot_tell", "reason": f"I saw {ATTACK}", "error": None}
        write_jsonl(data / f"judgements/{arm}.jsonl", [{"id": row["id"], **verdict} for row in rows])
    report(data, folder / "metrics", ARMS)
    return folder / "metrics/explorer.html"


def ready(tab):
    tab.wait_for_selector("html[data-ready]")
    return tab


def listed(tab) -> list[str]:
    """The questions in the list, which is short enough to be all in sight."""
    return tab.locator(".row > div:first-child").all_inner_texts()


def shown(tab) -> str:
    return tab.inner_text("#detail .id")


def test_filters_show_what_they_say(explorer, opened):
    tab = ready(opened(explorer))
    assert len(listed(tab)) == 8 and tab.inner_text("#count") == "8 questions"
    assert tab.inner_text("#summary") == "execution accuracy 28.6 % base, 57.1 % finetuned, on 7 questions"
    for name, ids in (
        ("Won", ["q01", "q04", "q07"]), ("Lost", ["q03"]), ("Both wrong", ["q02", "q06"]), ("Both right", ["q00"]),
        ("No verdict", ["q05"]), ("All", list(OUTCOME)),
    ):  # fmt: skip
        tab.click(f"#pairs label:has-text('{name}')")
        assert [text.split()[1] if text.startswith("Question") else "1?" for text in listed(tab)] == [
            f"{int(key[1:])}?" for key in ids
        ]
        assert shown(tab) in ids
    tab.select_option("#arm-base", "match")
    assert len(listed(tab)) == 2
    tab.select_option("#arm-finetuned", "mismatch")
    assert len(listed(tab)) == 1 and shown(tab) == "q03"
    tab.click("#clear")
    tab.select_option("#language", "ko")
    assert listed(tab) == ["Question 2?"]
    tab.click("#clear")
    tab.select_option("#domain", "music")
    assert len(listed(tab)) == 3
    tab.click("#clear")
    tab.fill("#text", "QUESTION 3")
    assert listed(tab) == ["Question 3?"] and tab.inner_text("#count") == "1 of 8 questions"
    tab.fill("#text", "nothing says this")
    assert listed(tab) == [] and "No question fits" in tab.inner_text("#detail")
    tab.fill("#text", "")
    assert len(listed(tab)) == 8


def test_keys_buttons_and_clicks_go_from_question_to_question(explorer, opened):
    tab = ready(opened(explorer))
    assert shown(tab) == "q00"
    for key, at in (("j", "q01"), ("ArrowDown", "q02"), ("ArrowRight", "q03"), ("k", "q02"), ("ArrowUp", "q01")):
        tab.keyboard.press(key)
        assert shown(tab) == at and tab.get_attribute(".row[aria-selected=true]", "id") == f"row-{int(at[1:])}"
    tab.click("#detail button:has-text('Next')")
    assert shown(tab) == "q02" and tab.url.endswith("#q02")
    tab.click("#detail button:has-text('Previous')")
    tab.click("#row-7")
    assert shown(tab) == "q07" and tab.is_disabled("#detail button:has-text('Next')")
    tab.keyboard.press("/")
    tab.keyboard.type("jk")  # letters of a search are no commands
    assert tab.input_value("#text") == "jk"


def test_a_link_opens_its_question_whatever_is_filtered(explorer, opened):
    tab = ready(opened(explorer, "#q05"))
    assert shown(tab) == "q05"
    tab.click("#pairs label:has-text('Lost')")
    assert shown(tab) == "q03"
    tab.evaluate("location.hash = '#q06'")
    tab.wait_for_selector("#detail .id:text-is('q06')")
    assert len(listed(tab)) == 8
    for fragment in ("#of-another-run", "#100%"):
        assert shown(ready(opened(explorer, fragment))) == "q00"


def test_a_question_shows_queries_results_outcomes_and_text(explorer, opened):
    tab = ready(opened(explorer, "#q03"))
    gold, base, finetuned = (tab.locator(f"section[aria-label='{name}']") for name in ("Gold", "base", "finetuned"))
    assert gold.locator("pre").first.inner_text() == GOLD
    assert gold.locator("td").all_inner_texts() == ["1", "2", "2"] and "3 rows" in gold.inner_text()
    assert base.locator(".badge").inner_text() == "✓ match" and "3 rows" in base.inner_text()
    assert finetuned.locator(".badge").inner_text() == "✗ mismatch"
    assert finetuned.locator("td").all_inner_texts() == ["1", "2"] and "2 rows" in finetuned.inner_text()
    assert CONTEXT in tab.inner_text("#detail details:has-text('Schema')")
    tab.goto(f"{explorer.as_uri()}#q05")
    tab.wait_for_selector("#detail .id:text-is('q05')")
    assert "– gold error" in tab.inner_text("#detail") and "no such table: u" in tab.inner_text("#detail")


def test_what_questions_and_models_say_is_text_and_never_markup(explorer, opened):
    tab = ready(opened(explorer, "#q01"))
    assert tab.inner_text("h2") == f"How many? {ATTACK}"
    assert ATTACK in tab.inner_text("section[aria-label='base'] .raw")
    assert f"Judge: cannot tell – I saw {ATTACK}" in tab.inner_text("section[aria-label='finetuned']")
    assert tab.evaluate("window.hacked") is None and tab.locator("img").count() == 0
    assert ATTACK not in explorer.read_text()


def test_the_page_is_dark_where_the_reader_is(explorer, opened):
    colours = [
        ready(opened(explorer, color_scheme=scheme)).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    brightness = [sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) for colour in colours]
    assert brightness[0] > 600 and brightness[1] < 150


def test_a_phone_shows_the_question_that_was_tapped(explorer, opened):
    tab = ready(opened(explorer, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True))
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert not tab.locator("kbd").first.is_visible()
    tab.tap("#row-3")
    assert shown(tab) == "q03" and tab.locator("#detail").bounding_box()["y"] < 10


def test_five_thousand_questions_are_searched_and_only_those_in_sight_are_drawn(tmp_path, opened):
    arm = {
        "outcome": "mismatch",
        "ex": False,
        "error": None,
        "harsh": False,
        "failed": 1,
        "finish_reason": "stop",
        "result": None,
        "judge": None,
    }
    rows = [
        {
            "id": f"row {number}", "db_id": "d", "question": f"Question {number}?", "complexity": "basic",
            "domain": f"domain {number % 20}", "language": "en", "schema": 0, "gold": GOLD, "gold_results": {},
            "databases": 0,
            "arms": [arm | {"text": f"{number}", "sql": None}, arm | {"ex": number % 2 == 0, "text": "x", "sql": GOLD}],
        }
        for number in range(5_000)
    ]  # fmt: skip
    file = tmp_path / "explorer.html"
    file.write_text(
        explorer_page(
            {"arms": list(ARMS), "pair": [0, 1], "rows": rows, "schemas": [CONTEXT]}, ("base", "finetuned"), ""
        )
    )
    assert file.stat().st_size < 10 * 2**20
    tab = ready(opened(file, "#row%204321"))
    assert shown(tab) == "row 4321"
    assert 10 < tab.locator(".row").count() < 60
    assert tab.locator("#row-4321").is_visible()
    tab.fill("#text", "question 499")
    assert tab.inner_text("#count") == "11 of 5,000 questions"
    tab.fill("#text", "")
    tab.click("#pairs label:has-text('Won')")
    assert tab.inner_text("#count") == "2,500 of 5,000 questions"


# Plots


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Project:
    """A project with a run committed, and another in its working tree: what `dvc plots` has to draw."""
    project = Project(tmp_path_factory.mktemp("plots") / "project")
    for train_size, change in ((4, ("match", "mismatch")), (8, ("match", "match"))):
        data = write_run(project.folder / "data", OUTCOME | {"q02": change})
        rows = read_table(data / "raw/train.parquet").to_dict("records")
        write_rows(data / "raw/train.parquet", [row | {"domain": ATTACK} for row in rows])
        write_rows(data / "selected/train.parquet", rows[:train_size])
        write_rows(data / "selected/eval.parquet", [row | {"complexity": ATTACK} for row in rows])
        report(data, project.folder / "metrics", ARMS)
        if train_size == 4:
            project.commit("a run")
    return project


@pytest.mark.parametrize("arguments", [["show"], ["diff", "HEAD", "workspace"]], ids=["show", "diff"])
def test_every_plot_draws_and_nothing_leaves_the_page(arguments, drawn, opened):
    drawn.python("-m", "text2sql", "plots", "page")
    out = f"plots_{arguments[0]}"
    done = drawn.run("dvc", "plots", *arguments, "--out", out)
    assert "could not" not in done.stderr
    tab = opened(drawn.folder / out / "index.html")
    tab.wait_for_function("document.querySelectorAll('body > div').length > 0 && document.readyState === 'complete'")
    tab.wait_for_function(
        "[...document.querySelectorAll('body > div')].every(plot => plot.querySelector('svg.marks, canvas.marks'))"
    )
    definitions = tab.evaluate("[...document.querySelectorAll('body > div')].map(plot => plot.id)")
    assert len(definitions) == len(set(definitions)) == 11
    for plot in definitions:
        place = tab.locator(f"#{plot} svg.marks")
        shapes = place.locator(".mark-rect path, .mark-line path, .mark-symbol path, .mark-rule line")
        assert shapes.count() > 0, f"{plot} is empty"
        assert place.bounding_box()["width"] > 200
    assert tab.evaluate("window.hacked") is None
    assert any("‹/script>" in text for text in tab.locator("#metrics_plots_domains_tsv text").all_text_contents())
    places = tab.locator("#metrics_plots_sizes_tsv .mark-symbol path[role=graphics-symbol]").evaluate_all(
        "points => points.map(point => point.getBoundingClientRect().x)"
    )
    assert len(set(places)) == {"show": 1, "diff": 2}[arguments[0]]  # a sweep's runs make one curve
    tab.set_viewport_size({"width": 390, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    revisions = {"workspace", "HEAD"} & set(tab.locator("#metrics_plots_outcomes_tsv text").all_text_contents())
    assert revisions == {"show": {"workspace"}, "diff": {"workspace", "HEAD"}}[arguments[0]]


def test_a_plot_of_either_arm_says_what_the_report_says(drawn):
    lines = (drawn.folder / "metrics/plots/arms.tsv").read_text().splitlines()
    summary = json.loads((drawn.folder / "metrics/summary.json").read_text())
    assert [line.split("\t")[:2] for line in lines[1:]] == [["execution", "base"], ["execution", "finetuned"]]
    assert [float(line.split("\t")[3]) for line in lines[1:]] == [summary["ex"]["base"], summary["ex"]["finetuned"]]
    assert os.path.getsize(drawn.folder / "metrics/plots/loss.tsv") > 40
