"""A base model is shown to load and to answer before anything is trained on it: in seconds, on the processor."""

import json
import sys
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils import logging

from text2sql.base.errors import UserError
from text2sql.base.text import first_line
from text2sql.models import load, prompts
from text2sql.models.pin import runs_own_code, weights_folder

LFS = b"version https://git-lfs"
INDEX = "model.safetensors.index.json"
SMALL = 2_000_000_000  # parameters up to which the try-out runs in fp32, where equal means equal
# What is tried: two prompts of different lengths, so that one of them is padded beside the other.
SAMPLES = (
    "SELECT name FROM singer WHERE age > 20",
    "How many singers are there in each country, and how old are they?",
)
STEPS = 4  # tokens of an answer that are tried: some models heed padding when they read, and not when they write
# Share of the largest logit by which two ways of computing the same logits may differ.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}


def check(pointer: dict[str, Any], chat: bool) -> dict[str, Any]:
    """Tries a pinned model and returns what was found: the same on every machine whose memory holds the model.

    model_type; parameters; positions: how many tokens prompt and answer may have together, None where the model sets no
    limit; stops: the token ids that end an answer; chat: whether there is a chat template; batches: whether an answer
    beside that to a longer prompt is what it is alone. A model too large for the main memory is not run: parameters and
    stops are then left out, and batches is None.
    Raises UserError, one line, for whatever would fail or mislead later.
    """
    folder, name = weights_folder(pointer), pointer["name"]
    check_files(folder, name)
    own_code = runs_own_code(pointer)
    config = check_config(folder, name, own_code)
    tokenizer = check_tokenizer(pointer, chat)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    found: dict[str, Any] = {"model_type": config.model_type, "positions": load.max_positions(config)}
    found |= {"chat": tokenizer.chat_template is not None, "batches": None}
    if size > 0.9 * psutil.virtual_memory().available:
        print(f"resolve: {name} is too large to be tried in this machine's main memory", file=sys.stderr)
        return found
    model = check_tensors(folder, name, config, own_code)
    embeddings: Any = model.get_input_embeddings()
    rows = len(embeddings.weight)
    if len(tokenizer) > rows:
        raise UserError(
            f"{name}: its tokenizer has {len(tokenizer)} tokens and the model rows for {rows}; take the model's own"
        )
    found["parameters"] = sum(weights.numel() for weights in model.parameters())
    found["stops"] = sorted(load.stop_tokens(model, tokenizer))
    try:
        return found | {"batches": try_out(model, tokenizer, name)}
    except UserError:
        raise
    except Exception as error:  # whatever a model's code raises
        raise UserError(
            f"{name}: a {config.model_type} does not run here ({type(error).__name__}: {first_line(error)});"
            " take another model, or the version of transformers that it was made with"
        ) from error


def check_files(folder: Path, name: str) -> None:
    """Raises UserError for weights that are missing or torn, and for pointers of git-lfs in a file's place."""
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with open(path, "rb") as file:
            if file.read(len(LFS)) == LFS:
                raise UserError(f"{name}: {path.name} is a pointer of git-lfs, not the file; run `git lfs pull` there")
    names = {path.name for path in folder.glob("*.safetensors")} | {path.name for path in folder.glob("*.bin")}
    if (folder / INDEX).is_file():
        wanted = set(read_object(folder / INDEX, name)["weight_map"].values())
        if wanted - names:
            raise UserError(f"{name}: the weights lack {', '.join(sorted(wanted - names))}; download the model again")
    if not names:
        raise UserError(f"{name}: no weights (*.safetensors) in its folder; download the model again")
    for part in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(part, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(f"{name}: {part.name} is torn ({first_line(error)}); download it again") from error


def read_object(path: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of the model's folder. Raises UserError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: {path.name} cannot be read ({first_line(error)}); download it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{name}: {path.name} holds no JSON object; download it again")
    return value


def check_config(folder: Path, name: str, own_code: bool) -> PreTrainedConfig:
    """The configuration. Raises UserError unless it is that of a decoder which transformers' own code can run.

    own_code: whether the code that the model brings may run in its place.
    """
    settings = read_object(folder / "config.json", name)
    kind = settings.get("model_type")
    classes = code_classes(folder, name)
    elsewhere = sorted(path for path in classes.values() if "--" in path)
    if own_code and elsewhere:
        raise UserError(f"{name}: its code is another repository's ({elsewhere[0]}), which nothing pins; copy it in")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=own_code)
    except Exception as error:  # of each architecture's own checks
        if "auto_map" in settings and not own_code:
            raise UserError(
                f"{name}: a model of type {kind} needs code from its own repository, which is not run; take a model"
                " that transformers knows, or read that code and set resolve.trust_remote_code"
            ) from error
        known = "does not recognize" not in str(error) and kind is not None
        reason = first_line(error) if known else f"this transformers knows no model of type {kind}"
        raise UserError(f"{name}: its configuration cannot be used ({reason}); take another model") from error
    if config.is_encoder_decoder:
        raise UserError(f"{name}: a {kind} is an encoder–decoder; take a decoder-only model")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not (own_code and "AutoModelForCausalLM" in classes):
        raise UserError(f"{name}: a {kind} is no language model that writes on from a prompt; take another model")
    return config


def code_classes(folder: Path, name: str) -> dict[str, str]:
    """What a model's files say of classes in code of their own: transformers' automatic class to the path of theirs."""
    files = [file for file in ("tokenizer_config.json", "config.json") if (folder / file).is_file()]
    given = [read_object(folder / file, name).get("auto_map") or {} for file in files]
    # A tokenizer names two, one in Python and one in Rust, either of which may be null.
    return {auto: str(path) for classes in given for auto, path in classes.items()}


def check_tokenizer(pointer: dict[str, Any], chat: bool) -> PreTrainedTokenizerBase:
    """The tokenizer. Raises UserError where it cannot be loaded, has no end token, or no chat template that works."""
    name = pointer["name"]
    try:
        tokenizer = load.load_tokenizer(pointer)
    except Exception as error:  # of several libraries
        raise UserError(f"{name}: its tokenizer cannot be loaded ({first_line(error)}); download it again") from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"{name}: its tokenizer names no end token, so no answer would end; set eos_token in it")
    if chat:
        prompts.prompt_ids((SAMPLES[0],), tokenizer, chat=True)
    return tokenizer


def check_tensors(folder: Path, name: str, config: PreTrainedConfig, own_code: bool) -> PreTrainedModel:
    """The model on the processor. Raises UserError where a tensor is missing, which would be random, or misshapen."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # its report has many lines; ours has one
    try:
        dtype = torch.float32 if parameters_of(config, own_code) <= SMALL else "auto"
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, trust_remote_code=own_code
        )
    except Exception as error:  # of each architecture's own code
        raise UserError(f"{name}: its weights cannot be loaded ({first_line(error)}); download it again") from error
    finally:
        logging.set_verbosity(level)
    model, report = loaded
    for problem, tensors in (("are missing from", report["missing_keys"]), ("misfit", report["mismatched_keys"])):
        if tensors:
            first = sorted(tensor if isinstance(tensor, str) else tensor[0] for tensor in tensors)[0]
            has = f"{len(tensors)} of its tensors {problem} the weights, {first} first, and would be random numbers"
            raise UserError(f"{name}: {has}; download the model again")
    return model.eval()


def parameters_of(config: PreTrainedConfig, own_code: bool = False) -> int:
    """How many parameters a model of the configuration has, counted without its weights."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=own_code)
    return sum(weights.numel() for weights in model.parameters())


def try_out(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> bool:
    """Whether answers in a padded batch are what they are alone.

    Raises UserError for logits that are not finite, and for a model that sees the tokens to come.
    """
    row = prompts.prompt_ids((SAMPLES[0],), tokenizer, chat=False)
    with torch.inference_mode():
        logits = model(torch.tensor([row]), use_cache=False).logits[0]
        half = model(torch.tensor([row[: len(row) // 2]]), use_cache=False).logits[0]
    if not logits.isfinite().all():
        raise UserError(f"{name}: its logits are not finite numbers; take another model, or download it again")
    if not alike(logits[: len(half)], half):
        raise UserError(f"{name}: it sees the tokens that are to come, so it cannot write; take a decoder-only model")
    return heeds_padding(model, tokenizer)


def heeds_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a row beside a longer one, padded, gets the logits that it gets alone, for an answer's first tokens."""
    rows = [prompts.prompt_ids((text,), tokenizer, chat=False) for text in SAMPLES]
    together = list(zip(*answer_logits(model, tokenizer, rows), strict=True))
    for row, (tokens, logits) in zip(rows, together, strict=True):
        (own_tokens,), (own_logits,) = answer_logits(model, tokenizer, [row])
        # Where rounding turned one choice, the steps after it have nothing to do with each other.
        same = next((step for step in range(STEPS) if tokens[step] != own_tokens[step]), STEPS - 1) + 1
        if not alike(logits[:same], own_logits[:same]):
            return False
    return True


def answer_logits(model: Any, tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> tuple[Any, torch.Tensor]:
    """The first STEPS tokens of each row's answer and their logits (rows x steps x vocabulary), by `model.generate`."""
    inputs = tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(model.device)
    found = model.generate(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], do_sample=False,
        min_new_tokens=STEPS, max_new_tokens=STEPS, pad_token_id=tokenizer.pad_token_id, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    return found.sequences[:, -STEPS:].tolist(), torch.stack(found.logits, dim=1)


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors of logits are the same but for rounding."""
    return bool((one - other).abs().max() <= TOLERANCE[one.dtype] * other.abs().max())
