"""Records of a data set on the hub."""

from itertools import chain

from datasets import load_dataset

from text2sql.base.errors import UserError
from text2sql.sources.left_out import LeftOut, Splits


def from_hub(name: str, config: str | None, revision: str | None) -> Splits:
    """The records of a data set on the hub, at a pinned commit, from its cache where it is there.

    Raises UserError without a revision, and when neither the hub nor its cache has the data set.
    """
    if not revision:
        raise UserError(
            f"ingest.revision: {name} needs a pinned commit; take one from huggingface.co/datasets/{name}/commits/main"
        )
    try:
        splits = load_dataset(name, config, revision=revision)
    except Exception as error:  # the hub's client raises its own, its HTTP library's and OS errors
        raise UserError(
            f"{name}: neither on the hub nor in its cache ({type(error).__name__}); "
            "download it elsewhere and set ingest.path to the file or folder"
        ) from error
    test = next((name for name in ("test", "validation", "dev") if name in splits), None)
    unread = [
        LeftOut(f"the split {name} is not read", len(rows))
        for name, rows in splits.items()
        if name not in ("train", test)
    ]
    return {"train": splits.get("train") or (), "test": chain(splits[test] if test else (), unread)}
