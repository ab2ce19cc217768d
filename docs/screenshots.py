"""Takes the pictures in docs/ from a project whose pipeline has run.

Reads metrics/explorer.html and draws the project's plots. Writes explorer.png, explorer-dark.png and plots.png.
Needs Chromium. Run: python docs/screenshots.py [PROJECT] [--out docs] [--chromium /usr/bin/chromium]
"""

import argparse
import subprocess
import sys
from pathlib import Path

FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
PLOTS = ("ex_by_complexity", "ex_by_domain", "outcomes", "loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", nargs="?", type=Path, default=Path("."), help="a project's folder (default: .)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the pictures")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    explorer = arguments.project.resolve() / "metrics/explorer.html"
    if not explorer.exists():
        sys.exit(f"error: {explorer}: not there; run `dvc repro` in {arguments.project} first")
    subprocess.run([sys.executable, "-m", "text2sql", "plots"], cwd=arguments.project, check=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    shoot(explorer, arguments.project.resolve() / "dvc_plots/index.html", arguments.out, arguments.chromium)


def shoot(explorer: Path, plots: Path, out: Path, chromium: str) -> None:
    """The explorer on a failure of the fine-tuned model, by day and by night, and the main plots side by side."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS.split())
        for scheme, name in (("light", "explorer.png"), ("dark", "explorer-dark.png")):
            page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
            page.goto(explorer.as_uri())
            page.wait_for_selector("html[data-ready]")
            page.click("#more > summary")
            if page.locator("#language option[value=en]").count():
                page.select_option("#language", "en")
            page.click("#more > summary")
            page.click("#group-kind button:has-text('mismatch')")
            page.locator("#filters").evaluate("filters => filters.scrollTop = 0")
            page.screenshot(path=out / name)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(plots.as_uri())
        shown = ", ".join(f"#metrics_plots_{name}_tsv" for name in PLOTS)
        for plot in page.locator("body > div").all():
            plot.locator("svg.marks").first.wait_for()
        page.add_style_tag(content=f"body {{ margin: 1.5rem }} body > div:not({shown}), details {{ display: none }}")
        page.locator("body").screenshot(path=out / "plots.png")
        browser.close()


if __name__ == "__main__":
    main()
