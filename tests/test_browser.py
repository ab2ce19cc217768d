"""What a reader sees in the browser: the explorer clicked through and the plots drawn, in real Chromium, offline."""

import csv
import importlib.util
import json
import os
from pathlib import Path

import pytest
from conftest import Project
from test_figures import ARMS, CONTEXT, GOLD, OUTCOME, write_run

from text2sql.base.files import read_jsonl, write_json, write_jsonl
from text2sql.dataset.rows import read_table, write_rows
from text2sql.report.explorer import page as explorer_page
from text2sql.report.explorer import write_explorer
from text2sql.report.run import report
from text2sql.scoring.results import first_rows

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
    tab.click("#more > summary")
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
    assert gold.locator("td:not(:empty)").all_inner_texts() == ["1", "2", "≠", "2"] and "3 rows" in gold.inner_text()
    assert base.locator(".badge").inner_text() == "✓ match" and "3 rows" in base.inner_text()
    assert finetuned.locator(".badge").inner_text() == "✗ mismatch"
    assert finetuned.locator("td").all_inner_texts() == ["1", "2"] and "2 rows" in finetuned.inner_text()
    assert CONTEXT in tab.inner_text("#detail details:has-text('Schema')")
    tab.goto(f"{explorer.as_uri()}#q05")
    tab.wait_for_selector("#detail .id:text-is('q05')")
    assert "– gold error" in tab.inner_text("#detail") and "no such table: u" in tab.inner_text("#detail")


def test_what_questions_and_models_say_is_text_and_never_markup(explorer, opened):
    tab = ready(opened(explorer, "#q01"))
    assert tab.inner_text(".question") == f"How many? {ATTACK}"
    assert ATTACK in tab.inner_text("section[aria-label='base'] .raw")
    assert f"Judge: cannot tell – I saw {ATTACK}" in tab.inner_text("section[aria-label='finetuned']")
    assert tab.evaluate("window.hacked") is None and tab.locator("img").count() == 0
    assert ATTACK not in explorer.read_text()


# Why an answer is wrong: three arms, of which the last is the one that the headline is about

SHOP = "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT); -- parcels"
ASKED = (  # gold, the outcomes of three arms, and the SQL of the wrong ones
    ("SELECT name FROM customers", ("match", "match", "match"), None),
    ("SELECT name FROM customers", ("mismatch", "match", "mismatch"), "SELECT city FROM customers"),
    ("SELECT name FROM customers", ("match", "match", "mismatch"), "SELECT id FROM customers"),
    ("SELECT name FROM customers WHERE id > 1", ("mismatch", "mismatch", "mismatch"), "SELECT name FROM customers"),
    ("SELECT name FROM customers ORDER BY id", ("match", "match", "mismatch"), "SELECT name FROM customers ORDER BY 1"),
    ("SELECT name FROM customers", ("schema", "schema", "schema"), "SELECT nickname FROM customers"),
)  # fmt: skip
CAUSED = {"column": ["w1", "w2"], "condition": ["w3"], "order or limit": ["w4"], "schema": ["w5"]}
WITNESS = {
    "tables": {"customers": {"columns": ["id", "name", "city"], "rows": [[1, "Ada", "Seoul"], [2, "Bo", None]]}},
    "gold": [["Bo"]],
    "prediction": [["Ada"], ["Bo"]],
}


@pytest.fixture(scope="module")
def failing(tmp_path_factory) -> Path:
    rows, scores, kept, texts = [], *({arm: [] for arm in ("base", "fewshot", "finetuned")} for _ in range(3))
    for number, (gold, outcomes, wrong) in enumerate(ASKED):
        labels = {"complexity": ("basic SQL", "aggregation")[number % 2], "domain": "shops", "language": "en"}
        rows.append(
            {"id": f"w{number}", "db_id": "shop", "question": f"Whose name is {number}?", "dialect": "sqlite"}
            | {"context": SHOP, "answer": gold, **labels}
        )
        for arm, outcome in zip(scores, outcomes, strict=True):
            right, error = outcome == "match", "no such column: nickname" if outcome == "schema" else None
            score = {"outcome": outcome, "ex": right, "ex_harsh": right, "error": error, "failed": int(not right)}
            scores[arm].append(score | {"sql": gold if right else wrong})
            names = [("Ada",), ("Bo",)]
            answer = first_rows(("name",), names if right else names[::-1] if number == 4 else [("Ada",), ("Seoul",)])
            shown = {"databases": 1, "database": 1, "gold": first_rows(("name",), names), "prediction": answer}
            kept[arm].append(shown | {"witness": WITNESS if number == 3 else None})
            texts[arm].append({"text": gold if right else wrong, "finish_reason": "stop"})
    path = tmp_path_factory.mktemp("failing") / "explorer.html"
    reasons = ["It counts parrots." if row["id"] == "w2" else "" for row in rows]
    judged = {arm: [{"verdict": "incorrect", "reason": reason, "error": None} for reason in reasons] for arm in scores}
    write_explorer(path, rows, scores, kept, texts, judged, ("fewshot", "finetuned"), "Fine-tuning did harm.")
    return path


def groups(tab, name: str) -> dict[str, int]:
    """The lines of a group that are in sight, each with its number."""
    buttons = tab.locator(f"#group-{name} button:not([hidden])")
    return {button.locator("span").inner_text(): int(button.locator("b").inner_text()) for button in buttons.all()}


def test_failures_are_grouped_by_cause_by_error_and_by_complexity_a_click_from_their_questions(failing, opened):
    tab = ready(opened(failing))
    assert tab.inner_text("#wrong") == "5 wrong"
    assert groups(tab, "cause") == {cause: len(ids) for cause, ids in CAUSED.items()}
    assert groups(tab, "kind") == {"mismatch": 4, "schema: no such column: …": 1}
    assert groups(tab, "level") == {"aggregation": 3, "basic SQL": 2}
    for cause, ids in CAUSED.items():
        tab.click(f"#group-cause button:has-text('{cause}')")
        assert len(listed(tab)) == len(ids) and shown(tab) in ids
        assert tab.inner_text("#count") == f"{len(ids)} of 6 questions"
    tab.click("#group-cause button:has-text('schema')")  # again: no longer chosen
    assert len(listed(tab)) == 6
    tab.click("#wrong")
    assert len(listed(tab)) == 5 and tab.get_attribute("#wrong", "aria-pressed") == "true"
    tab.click("#of label:has-text('fewshot')")
    assert (tab.inner_text("#wrong"), groups(tab, "cause")) == ("2 wrong", {"condition": 1, "schema": 1})
    assert len(listed(tab)) == 6  # the groups were those of another arm


def test_the_counts_follow_all_filters(failing, opened):
    tab = ready(opened(failing))
    tab.click("#pairs label:has-text('Lost')")
    assert groups(tab, "cause") == {"column": 2, "order or limit": 1} and tab.inner_text("#wrong") == "3 wrong"
    tab.click("#group-cause button:has-text('column')")
    assert groups(tab, "cause") == {"column": 2, "order or limit": 1}  # what another choice of this group would leave
    assert groups(tab, "level") == {"aggregation": 1, "basic SQL": 1}
    assert tab.locator("#pairs label").all_inner_texts() == ["All2", "Won0", "Lost2", "Both wrong0", "Both right0"]
    tab.click("#more > summary")
    assert tab.locator("#arm-base option").all_inner_texts() == ["any", "match (1)", "mismatch (1)", "schema (0)"]
    tab.fill("#text", "id from")
    assert groups(tab, "cause") == {"column": 1} and shown(tab) == "w2"


def test_the_search_covers_errors_schemas_causes_and_the_judges_reasons(failing, opened):
    tab = ready(opened(failing))
    for text, ids in (("NO SUCH COLUMN", ["w5"]), ("parrots", ["w2"]), ("order or limit", ["w4"]), ("parcels", 6)):
        tab.fill("#text", text)
        assert len(listed(tab)) == (ids if isinstance(ids, int) else len(ids))
        assert isinstance(ids, int) or shown(tab) == ids[0]


def test_gold_and_answer_stand_side_by_side_with_their_differences_marked(failing, opened):
    tab = ready(opened(failing, "#w1"))
    gold, answer = tab.locator("section[aria-label=Gold]"), tab.locator("section[aria-label=finetuned]")
    assert tab.locator(".sides > section").nth(1).get_attribute("aria-label") == "finetuned"
    assert gold.bounding_box()["y"] == answer.bounding_box()["y"]
    assert gold.locator("mark").all_inner_texts() == ["name"] and answer.locator("mark").all_inner_texts() == ["city"]
    assert answer.locator(".reasons").inner_text() == "Differs in column"
    assert gold.locator("tr.apart").all_inner_texts() == ["≠\tBo"]
    assert answer.locator("tr.apart").all_inner_texts() == ["≠\tSeoul"]
    assert tab.locator("section[aria-label=fewshot] mark, section[aria-label=fewshot] .apart").count() == 0  # is right
    tab.click("#of label:has-text('fewshot')")
    assert gold.locator("mark").count() == 0


def test_rows_in_another_order_are_marked_where_the_gold_has_an_order(failing, opened):
    tab = ready(opened(failing, "#w4"))
    assert tab.locator("section[aria-label=finetuned] tr.apart").all_inner_texts() == ["≠\tBo", "≠\tAda"]


def test_the_witness_is_drawn_with_what_both_queries_give(failing, opened):
    witness = ready(opened(failing, "#w3")).locator("section[aria-label=finetuned] .witness")
    assert witness.locator("h4").all_inner_texts() == ["customers", "gold gives", "the answer gives"]
    assert witness.locator("table").first.locator("td").all_inner_texts() == ["1", "Ada", "Seoul", "2", "Bo", "NULL"]
    assert witness.locator("tr.apart").all_inner_texts() == ["≠\tAda"]


def test_the_failing_rows_in_sight_are_saved_as_csv(failing, opened):
    tab = ready(opened(failing))
    tab.click("#group-cause button:has-text('column')")
    with tab.expect_download() as download:
        tab.click("#csv")
    assert download.value.suggested_filename == "failures-finetuned.csv"
    saved = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
    assert [row["id"] for row in saved] == ["w1", "w2"]
    assert saved[1]["sql"] == "SELECT id FROM customers" and saved[1]["cause"] == "column"
    tab.fill("#text", "nothing says this")
    assert tab.is_disabled("#csv")


def test_the_keyboard_alone_suffices(failing, opened):
    """From the address bar: to the list, to a group of failures, into the question, and back to all of them."""
    tab = ready(opened(failing))
    press = tab.keyboard.press
    focused = "document.activeElement.id || document.activeElement.dataset.group || document.activeElement.className"

    def walk(goal: str, limit: int = 30) -> None:
        for _ in range(limit):
            if tab.evaluate(focused) == goal:
                return
            press("Tab")
        raise AssertionError(f"{goal} is not reached")

    press("Tab")
    assert tab.evaluate(focused) == "skip"
    press("Enter")
    assert tab.evaluate(focused) == "list"
    press("ArrowDown")
    press("Enter")
    assert (shown(tab), tab.evaluate(focused)) == ("w1", "detail")
    press("/")
    assert tab.evaluate(focused) == "text"
    walk("order or limit")
    press("Space")
    assert shown(tab) == "w4" and tab.evaluate(focused) == "order or limit"
    press("/")
    press("Tab")
    assert tab.evaluate(focused) == "clear"
    press("Enter")
    assert len(listed(tab)) == 6
    press("Tab")  # to the summary, then the arms, where arrows choose
    press("Tab")
    press("ArrowLeft")
    assert tab.inner_text("#wrong") == "2 wrong"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault_in_contrast_names_or_roles(scheme, failing, opened):
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None:
        pytest.skip("axe-core is missing: pip install -e '.[dev]'")
    tab = ready(opened(failing, "#w3", color_scheme=scheme))
    tab.click("#wrong")
    tab.click("#more > summary")
    tab.evaluate((Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
    checked = tab.evaluate("axe.run()")
    assert [(fault["id"], fault["nodes"][0]["target"]) for fault in checked["violations"]] == []
    assert "color-contrast" in {rule["id"] for rule in checked["passes"]}


def test_three_arms_fit_on_a_phone(failing, opened):
    tab = ready(opened(failing, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True))
    assert not tab.locator("#groups").is_visible()  # until it is asked for
    tab.tap("#why > summary")
    tab.tap("#group-cause button:has-text('condition')")
    tab.tap("#why > summary")
    tab.tap("#row-0")
    assert shown(tab) == "w3" and tab.evaluate("document.documentElement.scrollWidth") == 390
    names = ("Gold", "finetuned", "base", "fewshot")
    boxes = [tab.locator(f"section[aria-label={name}]").bounding_box() for name in names]
    assert [box["y"] for box in boxes] == sorted(box["y"] for box in boxes)
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)


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
        "causes": ["column"],
        "kind": "mismatch",
        "witness": None,
        "finish_reason": "stop",
        "result": None,
        "judge": None,
    }
    rows = [
        {
            "id": f"row {number}", "db_id": "d", "question": f"Question {number}?", "complexity": "basic",
            "domain": f"domain {number % 20}", "language": "en", "schema": 0, "gold": GOLD, "gold_results": {},
            "databases": 0, "ordered": False,
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
    revisions = {"workspace", "HEAD"} & set(tab.locator("#metrics_plots_outcomes_tsv text").all_text_contents())
    assert revisions == {"show": {"workspace"}, "diff": {"workspace", "HEAD"}}[arguments[0]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_plots_fit_on_a_phone_and_are_dark_where_the_reader_is(scheme, drawn, opened):
    """A plot's own ink is read against the page: by the formula of WCAG 2, text has a contrast of at least 4.5."""
    drawn.python("-m", "text2sql", "plots", "page")
    drawn.run("dvc", "plots", "show", "--out", "plots_phone")
    tab = opened(
        drawn.folder / "plots_phone/index.html",
        viewport={"width": 390, "height": 844},
        is_mobile=True,
        color_scheme=scheme,
    )
    tab.wait_for_function("[...document.querySelectorAll('body > div')].every(plot => plot.querySelector('svg.marks'))")
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    widths = tab.locator("svg.marks").evaluate_all("plots => plots.map(plot => plot.getBoundingClientRect().width)")
    assert len(widths) == 11 and max(widths) <= 390 - 2 * 16
    page = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    inks = set(tab.locator("svg.marks text").evaluate_all("texts => texts.map(text => getComputedStyle(text).fill)"))
    assert inks and all(contrast(ink, page) >= 4.5 for ink in inks)
    assert (luminance(page) < 0.05) == (scheme == "dark")


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_plot_of_either_arm_says_what_the_report_says(drawn):
    lines = (drawn.folder / "metrics/plots/arms.tsv").read_text().splitlines()
    summary = json.loads((drawn.folder / "metrics/summary.json").read_text())
    assert [line.split("\t")[:2] for line in lines[1:]] == [["execution", "base"], ["execution", "finetuned"]]
    assert [float(line.split("\t")[3]) for line in lines[1:]] == [summary["ex"]["base"], summary["ex"]["finetuned"]]
    assert os.path.getsize(drawn.folder / "metrics/plots/loss.tsv") > 40
