"""What the stage `resolve` does: a base model pinned, fetched, tried, and pointed to."""

import os
from pathlib import Path
from typing import Any

from text2sql.base.files import write_json
from text2sql.base.params import ResolveParams
from text2sql.models.pin import POINTER, pin, weights_folder


def resolve(config: ResolveParams, folder: str | os.PathLike, chat: bool = False) -> dict[str, Any]:
    """Pins the model that `config` names, makes its weights ready to load, tries it, writes the pointer into `folder`.

    chat: whether prompts go through its chat template. Returns the pointer of `pin` with `checks`, what
    `preflight.check` found. Raises UserError when the model is not there, is not the one that was pinned, or cannot be
    used.
    """
    pointer = pin(config)
    weights_folder(pointer)
    from text2sql.models.preflight import check  # torch takes seconds to load: a model that is missing is told before

    pointer["checks"] = check(pointer, chat)
    write_json(Path(folder) / POINTER, pointer)
    return pointer
