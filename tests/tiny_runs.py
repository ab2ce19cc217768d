"""Training and generation on tiny models, for the tests of those rooms: rows, parameters, the calls themselves."""

from pathlib import Path

from conftest import ASKED, CONTEXTS, ROOT

from text2sql.base.files import read_jsonl
from text2sql.base.params import FinetuneParams, GenerateParams, read_params
from text2sql.dataset.rows import to_table
from text2sql.generation.generate import generate
from text2sql.models.prompts import build_prompt, prompt_ids, read_templates

PROMPT = read_params("prompt", path=ROOT / "params.yaml")[0].model_copy(update={"template": "en", "chat": False})


def table(count: int = 7):
    """Rows of different lengths, not in the order of their lengths, of four databases."""
    return to_table(
        {
            "id": f"q{number}",
            "db_id": f"d{number % 4}",
            "context": CONTEXTS[number % 3],
            "question": f"Question {'long ' * (number * 5 % 7)}{number}?",
            "answer": f"SELECT {number} FROM t",
            "language": "en",
        }
        for number in range(count)
    )


def prompt_of(row: dict, tokenizer) -> list[int]:
    return prompt_ids((build_prompt(row, read_templates(PROMPT), PROMPT),), tokenizer, False)


def training(**changes) -> FinetuneParams:
    values = {
        "quantization": "none", "dtype": "auto", "learning_rate": 1e-2, "weight_decay": 0.0, "warmup": 0.1,
        "scheduler": "cosine",
        "epochs": 2.0, "batch_size": 2, "accumulation": 1, "max_length": 1024, "eval_rows": 0, "keep": "last",
        "shots": 0, "patience": None, "attention": "auto", "packing": "none", "share_prefixes": "auto",
        "gradient_checkpointing": "auto", "compile": False, "liger": False, "float8": False, "launcher": "none",
        "accelerate": "configs/ddp.yaml",
    }  # fmt: skip
    lora = {
        "r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "all-linear", "use_dora": False,
        "use_rslora": False, "init_lora_weights": True, "loraplus_lr_ratio": None,
    } | changes.pop("lora", {})  # fmt: skip
    return FinetuneParams(**(values | {"lora": lora} | changes))


def train(pointer: dict, folder: Path, rows=None, **changes) -> dict:
    """Fine-tunes on the rows into folder/adapter and folder/train. Returns what was measured."""
    from text2sql.training.finetune import finetune  # takes seconds, and processes that train nothing do without

    return finetune(
        table() if rows is None else rows, pointer, PROMPT, training(**changes), 1,
        adapter_folder=folder / "adapter", metrics_folder=folder / "train", work=folder / "work",
    )  # fmt: skip


def losses(folder: Path, name: str = "loss") -> list[float]:
    return [float(line.split("\t")[1]) for line in (folder / f"train/{name}.tsv").read_text().splitlines()[1:]]


def generation(**changes) -> GenerateParams:
    values = {
        "backend": "transformers", "max_new_tokens": 6, "batch_tokens": 900, "quantization": "none", "dtype": "auto",
        "cuda_graphs": True, "base_url": None, "models": {"finetuned": "tuned"},
    }  # fmt: skip
    return GenerateParams(**(ASKED | {"concurrency": 4} | values | changes))


def run(
    pointer: dict, folder: Path, adapter: Path | None = None, rows=None, arm="base", samples=1, **changes
) -> list[dict]:
    """Generates for the rows into folder/out.jsonl, and returns what it holds."""
    folder.mkdir(exist_ok=True)
    rows = table() if rows is None else rows
    generate(
        rows, {key: [] for key in rows["id"]}, pointer, str(adapter or "models/base"), PROMPT, generation(**changes),
        arm, samples=samples, out=folder / "out.jsonl", work=folder,
    )  # fmt: skip
    assert not list(folder.glob("finished*"))
    return list(read_jsonl(folder / "out.jsonl"))
