"""Base models: pin one, and find its weights again.

`resolve` writes a small pointer file, `model.json`; the weights themselves stay in a cache outside the pipeline's outs
(the hub's own, or `~/.cache/text2sql`, moved by TEXT2SQL_CACHE), so that a checkout with the pointer alone can load
them.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import Any

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.base.params import ResolveParams

POINTER = "model.json"


def cache_folder() -> Path:
    """Where converted weights are kept: TEXT2SQL_CACHE, or `text2sql` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "text2sql"
    return Path(os.environ.get("TEXT2SQL_CACHE", default))


def pin(config: ResolveParams) -> dict[str, Any]:
    """The pointer to the model that `config` names: source, name, and what pins it.

    What pins it is the package's version and the file's checksum, the hub's commit, or the checksum of a folder. Raises
    UserError when the model is not there or is not the one that was pinned.
    """
    pointer = {"wheel": pin_wheel, "hub": pin_hub, "folder": pin_folder}[config.source](config)
    return pointer | {"code_sha256": pin_code(config, pointer)} if config.trust_remote_code else pointer


def pin_code(config: ResolveParams, pointer: dict[str, Any]) -> str:
    """The checksum of the Python files that a model brings, which are run as they were pinned and never otherwise.

    Raises UserError where nothing pins them, or where there are none.
    """
    asked = "params.yaml, resolve.trust_remote_code"
    if config.source == "wheel":
        raise UserError(f"{asked}: a GGUF file brings no code; set false")
    key = "sha256" if config.source == "folder" else "revision"
    if getattr(config, key) != pointer[key]:
        raise UserError(f"{asked}: code runs only where it is pinned; set resolve.{key}: {pointer[key]}")
    folder = weights_folder(pointer | {"code_sha256": None})
    if not list(folder.rglob("*.py")):
        raise UserError(f"{asked}: {config.name} brings no code; set false")
    return folder_sha256(folder, "*.py")


def runs_own_code(pointer: dict[str, Any]) -> bool:
    """Whether the model runs with the Python files that it brings. Raises UserError unless they are those pinned."""
    if "code_sha256" not in pointer:
        return False
    if folder_sha256(weights_folder(pointer), "*.py") != pointer["code_sha256"]:
        raise UserError(f"{pointer['name']}: its Python files are not those that resolve pinned; restore them")
    return True


def pin_wheel(config: ResolveParams) -> dict[str, Any]:
    """The pointer to a GGUF file inside an installed Python package."""
    if config.file is None or config.sha256 is None:
        raise UserError("params.yaml, resolve: source wheel needs `file` (the GGUF's name) and `sha256`")
    path = wheel_file(config.name, config.file)
    check_sha256(path, config.sha256)
    (distribution, *_) = importlib.metadata.packages_distributions()[config.name]
    version = importlib.metadata.version(distribution)
    return {
        "source": "wheel",
        "name": config.name,
        "version": version,
        "file": config.file,
        "sha256": config.sha256,
    }


def pin_hub(config: ResolveParams) -> dict[str, Any]:
    """The pointer to one commit of a hub repository."""
    from text2sql.models import hub  # loads the hub's client, which a local model does without

    return hub.pin(config)


def pin_folder(config: ResolveParams) -> dict[str, Any]:
    """The pointer to a local folder as `save_pretrained` writes it, pinned by a checksum over its files."""
    folder = Path(config.name)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"params.yaml, resolve.name: {folder} is not a model folder (it has no config.json); fix the path"
        )
    digest = folder_sha256(folder)
    if config.sha256 is not None and digest != config.sha256:
        raise UserError(
            f"{folder}: checksum {digest} is not resolve.sha256 {config.sha256}; restore it or fix the parameter"
        )
    return {"source": "folder", "name": config.name, "sha256": digest}


def weights_folder(pointer: dict[str, Any]) -> Path:
    """The folder that holds the pointer's weights in safetensors; downloads or converts them when they are not there.

    Raises UserError when they are not available.
    """
    if pointer["source"] == "folder":
        folder = Path(pointer["name"])
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: the model folder is gone; restore it, or fix resolve.name and run `dvc repro`")
        return folder
    if pointer["source"] == "hub":
        from text2sql.models import hub

        return hub.download(pointer["name"], pointer["revision"], code="code_sha256" in pointer)
    folder = cache_folder() / "models" / pointer["sha256"]
    if not (folder / "config.json").is_file():
        from text2sql.models.gguf import convert_gguf  # loads torch, which a folder that is there already does without

        convert_gguf(wheel_file(pointer["name"], pointer["file"]), folder)
    return folder


def wheel_file(package: str, file: str) -> Path:
    """The path of a file inside an installed package."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # a dotted or empty name
        spec = None
    if spec is None or spec.origin is None:
        raise UserError(f"params.yaml, resolve.name: the package {package} is not installed; `make setup` installs it")
    path = Path(spec.origin).parent / file
    if not path.is_file():
        there = ", ".join(sorted(other.name for other in path.parent.glob("*.gguf"))) or "no GGUF file"
        raise UserError(f"params.yaml, resolve.file: {package} has no file {file} (it has {there}); fix the name")
    return path


def check_sha256(path: Path, expected: str) -> None:
    """Raises UserError unless the file's SHA-256 is `expected` (64 hexadecimal digits)."""
    with open(path, "rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise UserError(
            f"{path.name}: SHA-256 {actual} is not resolve.sha256 {expected}; reinstall it or fix the parameter"
        )


def folder_sha256(folder: Path, pattern: str = "*") -> str:
    """One SHA-256 over names and contents of a folder's files that fit the pattern, hidden ones left out."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob(pattern) if path.is_file() and not path.name.startswith(".")):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {digest}\n".encode())
    return total.hexdigest()


def read_pointer(folder: str | os.PathLike) -> dict[str, Any]:
    """The pointer that `resolve` wrote into `folder`."""
    return read_json(Path(folder) / POINTER)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a LoRA adapter as PEFT writes it."""
    return (folder / "adapter_config.json").is_file()
