"""Sends the model that publish/params.yaml names to the Hub, with its tokenizer and a model card made from the run.

Reads models/, metrics/, data/selection.json and, for the merged model, publish/merged/ and publish/merged.json.
Writes publish/pushed.json: where it went, the commit, and each file's size and SHA-256. The token stands in HF_TOKEN,
or comes from `hf auth login`.
Alone: python publish/stages/push.py
       python publish/stages/push.py --dry-run             what would be sent; sends nothing, needs no token
       python publish/stages/push.py --dry-run > card.md   the card alone (the list of files goes to stderr)
"""

import argparse
import sys

from text2sql.base.errors import reports_user_errors
from text2sql.base.files import write_json
from text2sql.models.pin import read_pointer
from text2sql.publish.card import model_card
from text2sql.publish.params import read_publish_params
from text2sql.publish.push import check_finished, listing, package, push


@reports_user_errors
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent: files, sizes, card")
    args = parser.parse_args()
    config, pointer = read_publish_params(), read_pointer("models/base")
    check_finished()
    card = f"{model_card(config, pointer)}\n"
    files = package(config, pointer, card)
    listed = listing(files)
    where = f"{config.repo or 'OWNER/NAME (publish/params.yaml, repo)'}, {'private' if config.private else 'PUBLIC'}"
    for name, entry in listed.items():
        print(f"{entry['size']:>13,}  {name}", file=sys.stderr)
    if args.dry_run:
        print(f"would go to {where}; nothing was sent", file=sys.stderr)
        print(card, end="")
        return
    pushed = push(files, config)
    write_json("publish/pushed.json", {key: pushed[key] for key in ("repo", "commit", "url")} | {"files": listed})
    print(f"{pushed['url']}, {where}" if pushed["changed"] else f"nothing changed: {pushed['url']} holds these files")


if __name__ == "__main__":
    sys.exit(main())
