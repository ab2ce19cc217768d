"""Whether what an arm answers with was made from this run's adapter: a merged model or an exported file may be older."""

from pathlib import Path

from text2sql.base.arms import ADAPTER
from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.base.resume import file_key

# What `merge` and `export` make, and where they record the adapter's checksum.
MERGED, EXPORTS = Path("publish/merged"), Path("exports")
RECORDS = {MERGED: Path("publish/merged.json"), EXPORTS: EXPORTS / "export.json"}
COMMANDS = {MERGED: "merge", EXPORTS: "export"}


def check_made(model: str, *, recorded: bool = True) -> None:
    """Raises UserError where an arm's model is the merged one or an exported file, and not of the present adapter.

    recorded: whether it must be known what it was made from. Where only answers are joined, as on a clone that fetched
    them, the model need not be there.
    """
    path = Path(model)
    made = MERGED if path == MERGED else EXPORTS if path.parent == EXPORTS else None
    if made is None:
        return
    if not recorded and not RECORDS[made].is_file():
        return
    record = read_json(RECORDS[made]) if RECORDS[made].is_file() else {}
    if record.get("adapter") != file_key(Path(ADAPTER)):
        raise UserError(
            f"{model}: not made from the present {ADAPTER}; run `python -m text2sql {COMMANDS[made]}`, then `dvc repro`"
        )
