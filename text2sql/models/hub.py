"""A base model on the Hugging Face hub: which commit it is, and its files in the hub's own cache."""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from text2sql.base.errors import UserError, is_full
from text2sql.base.params import ResolveParams

# Configuration, weights and tokenizer; a hub repository may hold the same weights in other formats too.
FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def pin(config: ResolveParams) -> dict[str, Any]:
    """The pointer to one commit of a hub repository. Raises UserError."""
    if config.revision is None:
        raise UserError("params.yaml, resolve.revision: a hub model needs a pinned commit; its page shows them")
    if len(config.revision) == 40:
        return {"source": "hub", "name": config.name, "revision": config.revision}
    try:
        commit = HfApi().model_info(config.name, revision=config.revision).sha
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        named = f"{config.name} at revision {config.revision}"
        raise UserError(f"params.yaml, resolve: the hub has no model {named}; fix name or revision") from error
    except Exception as error:  # of the client, its HTTP library, or the network
        raise UserError(
            f"params.yaml, resolve.revision: the hub could not be asked which commit {config.revision!r} is;"
            " give the full 40-digit commit hash, or resolve.source: folder with a local copy"
        ) from error
    return {"source": "hub", "name": config.name, "revision": commit}


def download(name: str, revision: str, code: bool = False) -> Path:
    """A hub repository at one commit, from the hub's local cache where it is already there. Raises UserError.

    code: whether with its Python files, which are run only where resolve.trust_remote_code allows it.
    """
    files = [*FILES, "*.py"] if code else FILES
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=files))
    except Exception as error:  # of the client, its HTTP library, its downloader, or the disk
        if is_full(error):
            raise UserError(f"{name}: no space left on the disk for the download; free some or move HF_HOME") from error
        raise UserError(
            f"{name} at {revision}: not in the local hub cache and the hub does not give it"
            f" ({' '.join(str(error).split())[:160]}); check name, revision, network and `hf auth login`,"
            " or use resolve.source: folder with a local copy"
        ) from error
