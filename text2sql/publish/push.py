"""What is sent to the Hub, and the sending of it in one commit."""

import hashlib
import io
import json
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.models.load import load_tokenizer
from text2sql.publish.card import RESULTS, base_of
from text2sql.publish.params import MERGED, PublishParams
from text2sql.publish.portable import make_tokenizer_portable

Files = dict[str, Path | bytes]  # name in the repository to where the content is, or the content

# What an earlier push of another kind may have left in the repository, and what would be taken for this model's.
OTHERS = (
    RESULTS,
    "*.safetensors",
    "*.safetensors.index.json",
    "adapter_config.json",
    "config.json",
    "generation_config.json",
)


def package(config: PublishParams, pointer: dict[str, Any], card: str) -> Files:
    """Everything that goes into the repository: the model, its tokenizer, and the card as README.md.

    An adapter's settings name the base by its id on the Hub instead of by this machine's name for it. Raises UserError
    when the adapter is not there.
    """
    folder = Path(config.model)
    if config.model == MERGED:
        files: Files = {path.name: path for path in sorted(folder.iterdir())}
    else:
        weights = folder / "adapter_model.safetensors"
        if not weights.is_file():
            raise UserError(f"{folder}: no adapter there; fine-tune first (`dvc repro`)")
        settings = read_json(folder / "adapter_config.json")
        settings |= {
            "base_model_name_or_path": base_of(config, pointer).model,
            "revision": pointer.get("revision"),
        }
        text = json.dumps(settings, ensure_ascii=False, indent=2) + "\n"
        files = {"adapter_config.json": text.encode(), weights.name: weights}
        with tempfile.TemporaryDirectory() as temporary:
            load_tokenizer(pointer).save_pretrained(temporary)
            make_tokenizer_portable(Path(temporary))
            files |= {path.name: path.read_bytes() for path in sorted(Path(temporary).iterdir())}
    return {"README.md": card.encode(), **files}


def listing(files: Files) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 of every file to send."""
    listed = {}
    for name, content in files.items():
        with io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            listed[name] = {"size": file.seek(0, io.SEEK_END), "sha256": digest}
    return listed


def push(files: Files, config: PublishParams) -> dict[str, Any]:
    """Sends the files to `config.repo` in one commit: all of them arrive, or the repository stays as it was.

    The repository is made where there is none, private if `config` says so. What has arrived before is not sent again,
    and equal content makes no commit. The token is that of HF_TOKEN or of the Hub's own login. Returns repo, commit,
    url and `changed`. Raises UserError for whatever the Hub, the token or the network refuses.
    """
    if config.repo is None:
        raise UserError("publish/params.yaml, repo: not set; give OWNER/NAME, or look first with --dry-run")
    if get_token() is None:
        raise UserError("no token for the Hub; set HF_TOKEN, or log in with `hf auth login`")
    api = HfApi()
    try:
        api.create_repo(config.repo, private=config.private, exist_ok=True)
        before = api.model_info(config.repo)
        if config.private and not before.private:
            raise UserError(
                f"publish/params.yaml, private: {config.repo} is there already and public; make it private on the Hub,"
                " or set private: false"
            )
        there = {file.rfilename for file in before.siblings or ()}
        stale = sorted(name for name in there - files.keys() if any(fnmatch(name, pattern) for pattern in OTHERS))
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(name, content) for name, content in files.items()),
            *(CommitOperationDelete(name) for name in stale),
        ]
        commit = api.create_commit(config.repo, operations, commit_message="Model, tokenizer and card")
    except HFValidationError as error:
        raise UserError(f"publish/params.yaml, repo: {' '.join(str(error).split())}") from error
    except OfflineModeIsEnabled as error:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be sent; unset it") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise UserError(f"{config.repo}: {REFUSALS.get(status, f'the Hub answered {status}')}; {AGAIN}") from error
    except UserError:
        raise
    except Exception as error:  # of the client, its HTTP library, its uploader, or the network
        raise UserError(
            f"{config.repo}: the push was cut short ({type(error).__name__}) and nothing was committed; {AGAIN}"
        ) from error
    return {
        "repo": config.repo,
        "commit": commit.oid,
        "url": commit.commit_url,
        "changed": commit.oid != before.sha,
    }


AGAIN = "fix it and run the same command again, what has arrived is not sent twice"
REFUSALS = {
    401: "the Hub does not know this token (401); make a new one with write access",
    403: "this token may not write there (403); take one with write access, or another repo in publish/params.yaml",
    404: "the Hub has no such owner or repository for this token (404); check `repo` in publish/params.yaml",
    429: "the Hub asks to wait (429)",
}
