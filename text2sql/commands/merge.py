"""Merge the adapter into its base, in 16 bits, and check that the merged model answers as the two apart do.

python -m text2sql merge

Reads models/base/, models/finetuned/ and data/selected/eval.parquet of a finished run. Writes publish/merged/ (model
and tokenizer, for transformers, vLLM and others) and publish/merged.json (how many of 32 evaluation prompts both answer
with the same text; ids and texts of the others).
"""

import argparse

from text2sql.base.process import prepare_process
from text2sql.publish.params import MERGED, RECORD


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    prepare_process()
    from text2sql.publish.merge import publish_merged  # PyTorch takes seconds to load

    found = publish_merged()
    print(f"{MERGED}: merged and unmerged model give the same text for {found['agree']} of {found['prompts']} prompts")
    if found["differ"]:
        ids = ", ".join(row["id"] for row in found["differ"])
        print(f"different: {ids}; both texts are in {RECORD}")
    return 0
