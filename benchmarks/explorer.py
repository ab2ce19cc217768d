"""How fast the explorer opens and filters 5,000 questions of three arms, measured in the browser, and how large it is.

The questions are the synthetic source's; the arms' answers are golds, some of them changed, and scored before the clock
starts. The page is opened `--times` times; the median is given. Needs Chromium. Prints a table.
Run: python benchmarks/explorer.py [--rows 5000] [--chromium /usr/bin/chromium]
"""

import argparse
import tempfile
import time
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median

from text2sql.engines.pool import cores
from text2sql.engines.question import Question
from text2sql.report.explorer import write_explorer
from text2sql.scoring.score import Item, score_all
from text2sql.sources import synthetic
from text2sql.sql.context import brings_rows

FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
RAMBLE = "Here is a query that answers the question, as far as I can tell from the tables: "

# Milliseconds from a change of a filter until the list is drawn again.
FILTER = """([id, value]) => new Promise(done => {
  const element = document.getElementById(id), start = performance.now();
  element.value = value;
  element.dispatchEvent(new Event("input", {bubbles: true}));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})"""


# The same from a click.
CLICK = """selector => new Promise(done => {
  const element = document.querySelector(selector), start = performance.now();
  element.click();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "explorer.html")
        parts = made(arguments.rows)
        start = time.monotonic()
        write_explorer(file, *parts, {}, ("base", "finetuned"), "Measured on this benchmark's own questions.")
        print(f"| {arguments.rows:,} questions written | {time.monotonic() - start:.1f} s |")
        print(f"| size of the file | {file.stat().st_size / 2**20:.1f} MiB |")
        runs = [measure(file, arguments.chromium) for _ in range(arguments.times)]
        for name in runs[0]:
            clock, processor = (median(run[name][kind] for run in runs) for kind in (0, 1))
            print(f"| {name} | {clock:.0f} ms, {processor:.0f} ms of processor time |")


def made(count: int) -> tuple[list[dict], dict, dict, dict]:
    """`count` questions about databases that bring rows; scores, results and generations by arm."""
    random = Random(1)
    good = (row for row in synthetic.rows(3 * count, seed=11) if brings_rows(row["context"]))
    rows = list(islice(good, count))
    scores: dict[str, list] = {}
    results: dict[str, list] = {}
    generations: dict[str, list] = {}
    for arm, skill, ramble in (("base", 0.1, f"{RAMBLE * 3}\n"), ("fewshot", 0.4, ""), ("finetuned", 0.6, "")):
        answers = [row["answer"] if random.random() < skill else changed(row["answer"], random) for row in rows]
        items = [
            Item(row["id"], Question(row["answer"], (row["context"],)), ramble + sql)
            for row, sql in zip(rows, answers, strict=True)
        ]
        scored = list(score_all(items, workers=cores()))
        scores[arm], results[arm] = [one.row for one in scored], [one.results for one in scored]
        generations[arm] = [{"text": item.prediction, "finish_reason": "stop"} for item in items]
    return rows, scores, results, generations


def changed(sql: str, random: Random) -> str:
    """A query with a mistake: an unknown column, a doubled DISTINCT, another condition, or no end."""
    mistakes = [("SELECT ", "SELECT birth, "), ("SELECT", "SELECT DISTINCT"), (" = ", " > "), (" FROM ", " FRM ")]
    return sql.replace(*random.choice(mistakes), 1)


def measure(file: Path, chromium: str) -> dict[str, tuple[float, float]]:
    """Milliseconds to open the page and to apply each kind of filter: by the clock, and of the page's own processor
    time, which does not depend on what else the machine does."""
    from playwright.sync_api import sync_playwright

    measured: dict[str, tuple[float, float]] = {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS.split())
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def spent() -> float:
            page.wait_for_timeout(300)  # until what was started is drawn
            metrics = session.send("Performance.getMetrics")["metrics"]
            return next(1000 * metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

        def do(name: str, action: str, argument: object) -> None:
            before = spent()
            clock = page.evaluate(action, argument)
            measured[name] = clock, spent() - before

        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]")
        opened = float(page.get_attribute("html", "data-ready") or 0)
        measured["opened, from navigation to the first question"] = opened, spent()
        do("first text search, at once", FILTER, ["text", "count the"])
        do("text search", FILTER, ["text", "distinct"])
        do("no search", FILTER, ["text", ""])
        do("filter by outcome", FILTER, ["arm-base", "match"])
        page.evaluate(FILTER, ["arm-base", ""])
        do("failures of one cause", CLICK, "#group-cause button")
        do("another arm's failures", CLICK, "[name=of]")
        browser.close()
    return measured


if __name__ == "__main__":
    main()
