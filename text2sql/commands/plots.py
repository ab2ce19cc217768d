"""Draw the plots into one page that needs no network: dvc_plots/index.html.

python -m text2sql plots
python -m text2sql plots diff main         what `dvc plots` takes: show (the default) or diff with revisions
python -m text2sql plots page              only the page's frame, which `dvc plots` draws into from then on
"""

import argparse
import importlib.metadata
import sys
from pathlib import Path

import dvc.cli
import vl_convert

from text2sql.base.files import atomic_write

KEPT = Path(".dvc/tmp")  # DVC's own folder of what can be made again
FRAME = KEPT / "plots.html"  # what plots.html_template in .dvc/config names

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; background: #fff; color: #1d1f23; }
body { display: flex; flex-wrap: wrap; gap: 2.5rem; align-items: start; }
body > div { max-width: 100%; overflow-x: auto; }
@media (max-width: 52rem) { body { margin: 1rem; } }
@media (prefers-color-scheme: dark) { body { background: #15171a; color: #e7e9ec; } }
"""

# The templates are of fixed width and for a light page, as whatever else draws them expects. Here they take the colours
# of the reader's scheme and, on a phone, the width that there is: plots below one another, with short labels.
ADAPT = """
{
  const dark = matchMedia("(prefers-color-scheme: dark)"), narrow = matchMedia("(max-width: 52rem)");
  for (const query of [dark, narrow]) query.addEventListener("change", () => location.reload());
  const [ink, quiet, line] = dark.matches ? ["#e7e9ec", "#a8afba", "#34383f"] : ["#1d1f23", "#565d68", "#dfe1e5"];
  const config = {
    background: "transparent",
    title: {color: ink, limit: innerWidth - 40},
    axis: {labelColor: ink, titleColor: quiet, gridColor: line, domainColor: quiet, tickColor: quiet},
    axisX: {labelOverlap: true, labelSeparation: 8},
    legend: {labelColor: ink, titleColor: quiet, ...(narrow.matches ? {columns: 2, labelLimit: 130} : {})},
    header: {labelColor: ink, titleColor: quiet},
    view: {stroke: line},
    rule: {color: ink},
    text: {color: ink},
  };
  const draw = vegaEmbed;
  vegaEmbed = (place, spec) => {
    const plot = spec.spec ?? spec, rows = plot.encoding?.y?.axis;
    if (narrow.matches) {
      spec.columns = 1;
      if (rows?.labelLimit) rows.labelLimit = 140;
      plot.width = Math.max(120, innerWidth - (rows?.labelLimit ? 220 : 110));
    }
    return draw(place, spec, {config, tooltip: {theme: dark.matches ? "dark" : "light"}});
  };
}
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("arguments", nargs="*", default=["show"], help="arguments of `dvc plots` (default: show)")


def run(args: argparse.Namespace) -> int:
    with atomic_write(FRAME) as file:
        file.write(frame())
    if args.arguments == ["page"]:
        return 0
    return dvc.cli.main(["plots", *args.arguments])


def frame() -> str:
    """DVC's page with the Vega library in it, where DVC's own would fetch it; its policy forbids every request."""
    policy = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Plots</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<link rel="icon" href="data:,">\n'
        f"<style>{STYLE}</style>\n<script>{library()}</script>\n<script>{ADAPT}</script>\n</head>\n"
        "<body>\n{plot_divs}\n</body>\n</html>\n"
    )


def library() -> str:
    """The Vega library as one script, kept by its version: to bundle it takes longer than to draw the plots."""
    bundle = KEPT / f"vega-{importlib.metadata.version('vl-convert-python')}.js"
    if not bundle.exists():
        print(f"plots: bundling the library that draws them, once, into {bundle}", file=sys.stderr, flush=True)
        with atomic_write(bundle) as file:
            file.write(vl_convert.javascript_bundle())  # type: ignore[call-arg]  # its stub lacks the default
    return bundle.read_text(encoding="utf-8")
