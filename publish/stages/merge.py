"""Merges the adapter into its base, in 16 bit, and looks whether the merged model answers as the two apart do.

Reads models/base/, models/finetuned/ and data/selected/eval.parquet.
Writes publish/merged/ (model and tokenizer, for transformers, vLLM and others) and publish/merged.json (how many of 32
evaluation prompts both answer with the same text; ids and texts of the others).
Alone: python publish/stages/merge.py
"""

import argparse
import sys
from pathlib import Path

from text2sql.base.errors import reports_user_errors
from text2sql.base.files import write_json
from text2sql.base.params import read_params
from text2sql.base.process import prepare_process
from text2sql.dataset.rows import read_table
from text2sql.models.pin import read_pointer


@reports_user_errors
def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    prompt, generate = read_params("prompt", "generate")
    pointer, adapter, merged = read_pointer("models/base"), Path("models/finetuned"), Path("publish/merged")
    table = read_table("data/selected/eval.parquet")
    prepare_process()
    from text2sql.publish.merge import agreement, merge  # torch takes seconds to load

    merge(pointer, adapter, merged)
    found = agreement(table, pointer, adapter, merged, prompt, generate.max_new_tokens)
    write_json("publish/merged.json", found)
    print(f"merged and unmerged model give the same text for {found['agree']} of {found['prompts']} prompts")
    if found["differ"]:
        ids = ", ".join(row["id"] for row in found["differ"])
        print(f"different: {ids}; both texts are in publish/merged.json")


if __name__ == "__main__":
    sys.exit(main())
