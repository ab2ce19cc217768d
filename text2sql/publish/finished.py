"""Whether what is to be published is what was measured."""

from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.base.resume import file_key
from text2sql.base.text import one_line
from text2sql.publish.params import ADAPTER, MERGED, RECORD


def check_finished(stage: str | None = None) -> None:
    """Raises UserError unless everything that the pipeline made is that of its present parameters, code and inputs.

    A card would otherwise tell of another run than the one that it is sent with. stage: look at this one alone, and
    those before it.
    """
    try:
        with Repo() as repo:
            changed = repo.status(targets=stage, with_deps=stage is not None)
    except DvcException as error:
        raise UserError(f"the pipeline's state cannot be read ({one_line(error)}); look with `dvc status`") from error
    if changed:
        stages = ", ".join(changed)
        raise UserError(f"the results are not those of the present params, code and inputs ({stages}); run `dvc repro`")


def check_merged(pointer: dict[str, Any]) -> None:
    """Raises UserError unless publish/merged is this base, `pointer`, with the present adapter in it."""
    if not (Path(MERGED) / "config.json").is_file() or not RECORD.is_file():
        raise UserError(f"{MERGED}: not there, or its check is not; run `python -m text2sql merge`")
    record = read_json(RECORD)
    if (record["adapter"], record["base"]) != (file_key(Path(ADAPTER)), pointer):
        raise UserError(f"{MERGED}: made from another adapter or base; run `python -m text2sql merge` again")
