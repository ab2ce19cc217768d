"""Whether what an arm answers with was made from this run's adapter: a merged model or an exported file may not be."""

from pathlib import Path

from text2sql.base.arms import ADAPTER, EXPORTS, MADE_OF, MERGED
from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.base.resume import file_key


def check_made(model: str, *, recorded: bool = True) -> None:
    """Raises UserError where an arm's model is the merged one or an exported file, and not of the present adapter.

    recorded: whether it must be known what it was made from. Where only answers are joined, as on a clone that fetched
    them, the model need not be there.
    """
    command = "merge" if model == MERGED else "export" if Path(model).parent == EXPORTS else None
    if command is None:
        return
    record = MADE_OF[command]
    if not recorded and not (record.is_file() and Path(model).exists()):
        return
    if not Path(model).exists():
        raise UserError(f"{model}: not there; run `python -m text2sql {command}`")
    if not record.is_file() or read_json(record).get("adapter") != file_key(Path(ADAPTER)):
        raise UserError(
            f"{model}: not made from the present {ADAPTER}; run `python -m text2sql {command}`, then `dvc repro`"
        )
