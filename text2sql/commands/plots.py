"""Draw the plots into one page that needs no network: dvc_plots/index.html.

python -m text2sql plots
python -m text2sql plots diff main         what `dvc plots` takes: show (the default) or diff with revisions
"""

import argparse
import subprocess
from pathlib import Path

PAGE = Path("dvc_plots/page.html")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("arguments", nargs="*", default=["show"], help="arguments of `dvc plots` (default: show)")


def run(args: argparse.Namespace) -> int:
    from text2sql.files import atomic_write

    with atomic_write(PAGE) as file:
        file.write(page())
    return subprocess.run(["dvc", "plots", *args.arguments, "--html-template", str(PAGE.resolve())]).returncode


def page() -> str:
    """DVC's page with the Vega library in it, where DVC's own would fetch it."""
    from vl_convert import javascript_bundle

    return (
        '<!DOCTYPE html>\n<html>\n<head><meta charset="utf-8"><title>plots</title>\n'
        f"<script>{javascript_bundle()}</script>\n</head>\n<body>\n{{plot_divs}}\n</body>\n</html>\n"
    )
