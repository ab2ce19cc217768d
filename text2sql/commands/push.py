"""Send the model that publish/params.yaml names to the Hub, with its tokenizer and a model card made from the run.

python -m text2sql push --dry-run             what would be sent; sends nothing, needs no token
python -m text2sql push --dry-run > card.md   the card alone (the list of files goes to stderr)
HF_TOKEN=… python -m text2sql push            sends it; or log in once with `hf auth login`

Reads models/, metrics/, data/selection.json and, for the merged model, publish/merged/ and publish/merged.json of a
finished run. Writes publish/pushed.json: where it went, the commit, and each file's size and SHA-256.
"""

import argparse
import sys

from text2sql.base.files import write_json
from text2sql.models.pin import read_pointer
from text2sql.publish.params import MERGED, read_publish_params


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent: files, sizes, card")


def run(args: argparse.Namespace) -> int:
    from text2sql.publish.card import model_card, results_file
    from text2sql.publish.finished import check_finished, check_merged
    from text2sql.publish.push import listing, package, push

    config, pointer = read_publish_params(), read_pointer("models/base")
    check_finished()
    if config.model == MERGED:
        check_merged(pointer)
    card = f"{model_card(config, pointer)}\n"
    files = package(config, pointer, card) | results_file(config)
    listed = listing(files)
    where = f"{config.repo or 'OWNER/NAME (publish/params.yaml, repo)'}, {'private' if config.private else 'PUBLIC'}"
    for name, entry in listed.items():
        print(f"{entry['size']:>13,}  {name}", file=sys.stderr)
    if args.dry_run:
        print(f"would go to {where}; nothing was sent", file=sys.stderr)
        print(card, end="")
        return 0
    pushed = push(files, config)
    write_json("publish/pushed.json", {key: pushed[key] for key in ("repo", "commit", "url")} | {"files": listed})
    print(f"{pushed['url']}, {where}" if pushed["changed"] else f"nothing changed: {pushed['url']} holds these files")
    return 0
