"""Fine-tuning and generation on one GPU, the exercise's way beside ours, with a model of Yi-Ko-6B's shape.

    python benchmarks/gpu.py [--ways WAY ...] [--model FOLDER] [--json FILE]     all: about 20 minutes on an H100
    python benchmarks/gpu.py --small                                             the same on a CPU, a tiny model

The weights are random (6.18 B parameters, made on the spot in --model, 12.4 GB): they cost what real ones cost, and
never stop early. Every way runs in a process of its own; a way that fails is named and the others go on.

Generation: 112 prompts of 260 tokens, 256 new tokens each, greedy; no two prompts begin alike, so nothing is shared.
Those with "schemas" are 5,000 questions about 140 schemas, as many and as long as Spider's for training, and ways with
"vllm" are answered by the vllm backend (install vllm, in an environment of its own if need be, and name those ways).
Seconds are those after loading; "stage" ways are the generate stage's own code, cold: with everything that a first
batch sets up. nf4_alone, the exercise's way, is measured on three prompts and extrapolated to all.
Training: rows of 1,024 tokens through the finetune function; tokens per second by the median of the last two thirds of
the steps, so that neither compilation nor the ten checkpoints of a run are in them; seconds hold both.
train_nf4_checkpointing has the exercise's settings. Ways with "schema" train on questions about schemas of so many
tokens, those with "spider" about schemas as long as Spider's, several about each in a batch, every row alone or with
the schema once for all (finetune.share_prefixes); their figure is questions per second, within the same steps. Ways
with "ddp" and "fsdp" take every card, and are left out where there is one.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from text2sql.base.process import prepare_process

ROOT = Path(__file__).parents[1]
YI_KO_6B = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 4, "vocab_size": 78464,
}  # fmt: skip
TINY = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300,
}  # fmt: skip
FULL_SIZE = {"prompts": 112, "prompt": 260, "new": 256, "many": 5000, "alone": 3, "tokens": 1024, "steps": 30}
SMALL_SIZE = {"prompts": 6, "prompt": 260, "new": 8, "many": 20, "alone": 2, "tokens": 1024, "steps": 3}
# For each way of generating: how many prompts, by whom, and what differs from params.yaml.
GENERATING = {
    "nf4_alone": ("alone", "transformers", {"quantization": "nf4"}),
    "nf4_batch": ("prompts", "transformers", {"quantization": "nf4"}),
    "bf16_batch": ("prompts", "transformers", {}),
    "stage_without_graphs": ("prompts", "stage", {"cuda_graphs": False}),
    "stage": ("prompts", "stage", {}),
    "stage_nf4": ("prompts", "stage", {"quantization": "nf4"}),
    "stage_many": ("many", "stage", {}),
    "stage_schemas": ("many", "stage", {}),
    "vllm": ("prompts", "stage", {"backend": "vllm"}),
    "vllm_schemas": ("many", "stage", {"backend": "vllm"}),
}
# Databases of Spider's training questions, and the deciles of its schemas' tokens, by SmolLM2's tokenizer.
DATABASES, SCHEMA_TOKENS = 140, (64, 127, 159, 175, 198, 237, 273, 397, 515, 758)
NF4 = {"quantization": "nf4", "batch_size": 8, "gradient_checkpointing": True}
BF16 = {"batch_size": 4, "gradient_checkpointing": False}
COMPILED = {"gradient_checkpointing": False, "compile": True}
TRAINING = {
    "train_nf4_checkpointing": (NF4, 0.05),
    "train_bf16_plain": (BF16, 0.05),
    "train_liger": (BF16 | {"liger": True}, 0.0),
    "train_stage": (BF16 | {"compile": True}, 0.0),
    "train_stage_float8": (BF16 | {"compile": True, "float8": True}, 0.0),
    "train_stage_nf4": (NF4 | {"compile": True}, 0.0),
    "train_ddp": (BF16 | {"compile": True}, 0.0),
    "train_fsdp_nf4": (NF4, 0.0),
}
# Tokens of the schemas, in turn; how many questions about one stand together; questions in a batch where each brings
# its schema, and where they share it. Every question has QUESTION tokens with its SQL.
SCHEMAS = {
    "train_schema_300": ((300,), 8, 32, 32),
    "train_schema_1000": ((1000,), 16, 16, 16),
    "train_spider": (SCHEMA_TOKENS, 16, 16, 32),  # 32 longest rows of their own take more than a card has
}
QUESTION = 90
TRAINING |= {
    f"{name}_{kind}": (COMPILED | {"batch_size": batch, "share_prefixes": shared}, 0.0)
    for name, (_, together, alone, sharing) in SCHEMAS.items()
    for kind, batch, shared in (("alone", alone, "never"), ("shared", sharing, together))
}
DEFAULT = [way for way in (*GENERATING, *TRAINING) if not way.startswith("vllm")]
# Ways that run in a process a card, by accelerate's configuration.
LAUNCHED = {"train_ddp": "configs/ddp.yaml", "train_fsdp_nf4": "configs/fsdp_qlora.yaml"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", choices=[*GENERATING, *TRAINING], default=DEFAULT)
    parser.add_argument(
        "--model", type=Path, help="folder for the model, kept and used again; default: a temporary one"
    )
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    size = SMALL_SIZE if args.small else FULL_SIZE
    if args.way:
        prepare_process()
        if args.way == "model":
            measured = make_model(args.model, TINY if args.small else YI_KO_6B)
        else:
            measured = generate_by(args.way, args.model, size) if args.way in GENERATING else train_by(args, size)
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(measured))
        return
    with tempfile.TemporaryDirectory() as temporary:
        model = args.model or Path(temporary, "model")
        # One folder for all processes of a way: they read each other's checkpoints.
        commands = [
            [*launcher(way), __file__, "--way", way, "--out", str(Path(temporary, way))]
            for way in ways_on(model, args.ways)
            if way not in LAUNCHED or cards() > 1
        ]
        run_each(commands, model, size, args)


def ways_on(model: Path, ways: Sequence[str]) -> list[str]:
    """The ways, before them the making of the model where it is not there: in a process of its own, like every way, so
    that this one holds no memory on the card."""
    return [*(["model"] if not (model / "config.json").is_file() else []), *ways]


def run_each(commands: Sequence[list[str]], model: Path, size: dict, args: argparse.Namespace, **env: str) -> None:
    """Runs a command for each way, named behind its `--way`; prints what each measured, and writes all to args.json.

    env: what their environment has beside this process's. Ends this process, with 1 where a way failed.
    """
    results = {}
    for command in commands:
        way = command[command.index("--way") + 1]
        done = subprocess.run(
            [*command, "--model", str(model.resolve()), *["--small"] * args.small],
            cwd=ROOT, capture_output=True, text=True, env=os.environ | env,
        )  # fmt: skip
        last = "".join((done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1:])
        results[way] = json.loads(last) if done.returncode == 0 else {"failed": last}
        if done.returncode:
            print(done.stderr[-3000:], file=sys.stderr)
        print(f"{way:<25}" + "".join(f"   {key} {value}" for key, value in results[way].items()), flush=True)
        if args.json:
            args.json.write_text(json.dumps({"where": where(), "size": size, "results": results}, indent=2) + "\n")
    sys.exit(any("failed" in result for result in results.values()))


def launcher(way: str) -> list[str]:
    """The command that a way's script is run by."""
    if way not in LAUNCHED:
        return [sys.executable]
    options = ["--config_file", LAUNCHED[way], "--num_processes", str(cards()), "--main_process_port", "0"]
    return [sys.executable, "-m", "accelerate.commands.launch", *options]


def cards() -> int:
    """CUDA cards that are visible, asked in a process that holds no memory on them afterwards."""
    command = [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def make_model(folder: Path, shape: dict) -> dict:
    """Writes a Llama of the shape with random weights and a byte-level tokenizer, as `save_pretrained` does."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate(["<pad>", "<end>", *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    config = LlamaConfig(
        **shape,
        max_position_embeddings=2048,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<end>").save_pretrained(folder)
    return {"parameters": sum(weights.numel() for weights in model.parameters())}


def generate_by(way: str, model: Path, size: dict) -> dict:
    """Seconds and completion tokens of one way of generating, extrapolated where it answers fewer prompts."""
    from text2sql.base.params import read_params
    from text2sql.generation.generate import open_backend

    count, who, changes = GENERATING[way]
    prompt, config = read_params("prompt", "generate")
    prompt = prompt.model_copy(update={"chat": False})
    config = config.model_copy(update={"max_new_tokens": size["new"], **changes})
    texts = list(prompts_of(size[count], size["prompt"], by_schema=way.endswith("schemas")))
    start = time.monotonic()
    if who == "stage":
        backend = open_backend(pointer_to(model), "models/base", prompt, config, "base")

        def answer() -> int:
            pieces = backend.complete([(text,) for text in texts], [None] * len(texts), (), (0, 1))
            return sum(completion.completion_tokens for piece in pieces for completion in piece.values())
    else:
        answer = by_transformers(pointer_to(model), texts, config, alone=count == "alone")
    loading, start = time.monotonic() - start, time.monotonic()
    tokens = answer()
    seconds = time.monotonic() - start
    # What each call of `answer` computes is timed again: the second time nothing is set up any more.
    warm = {}
    if count == "prompts":
        start = time.monotonic()
        answer()
        warm = {"warm_seconds": round(time.monotonic() - start, 2)}
    share = size["prompts"] / size["alone"] if count == "alone" else 1
    extrapolated = {"extrapolated_from": size["alone"]} if count == "alone" else {}
    return {
        "seconds": round(seconds * share, 2), **warm, "prompts": round(len(texts) * share),
        "tokens_per_second": round(tokens / seconds, 1), "loading_seconds": round(loading, 1), **peak(), **extrapolated,
    }  # fmt: skip


def prompts_of(count: int, tokens: int, by_schema: bool) -> Iterator[str]:
    """Prompts of a byte a token: of so many tokens and all unlike, or with a schema at the beginning and a question."""
    for number in range(count):
        database = number * DATABASES // count
        schema = f"{database:03}{'s' * SCHEMA_TOKENS[database % len(SCHEMA_TOKENS)]}"
        yield f"{schema} {number:08}{'x' * 30}" if by_schema else f"{number:08} {'x' * (tokens - 9)}"


def by_transformers(pointer: dict, texts: list[str], config, alone: bool):
    """What answers the texts by `model.generate`, one at a time or all in one batch, and counts tokens."""
    from text2sql.generation.local import complete_padded, load_arm
    from text2sql.models import load
    from text2sql.models.prompts import prompt_ids

    tokenizer, model = load.load_tokenizer(pointer), load_arm(pointer, None, config.quantization)
    stops, ids = load.stop_tokens(model, tokenizer), [prompt_ids((text,), tokenizer, False) for text in texts]
    batches = [[row] for row in ids] if alone else [ids]

    def answer() -> int:
        return sum(
            len(tokens)
            for batch in batches
            for tokens in complete_padded(model, tokenizer, batch, stops, config.max_new_tokens, [None] * len(batch))
        )

    return answer


def train_by(args: argparse.Namespace, size: dict) -> dict:
    """Tokens per second of one way of training, through the finetune function."""
    import torch
    from transformers import TrainerCallback
    from transformers.trainer import DEFAULT_CALLBACKS

    from text2sql.base.params import read_params
    from text2sql.dataset.rows import to_table
    from text2sql.models import load
    from text2sql.training.finetune import build_examples, finetune

    steps: list[float] = []

    class Clock(TrainerCallback):
        def start(self, *_, **__):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.started = time.monotonic()

        def on_step_end(self, *_, **__):
            before = self.started
            self.start()
            steps.append(self.started - before)

        on_train_begin = on_save = start  # what a checkpoint takes is in no step

    DEFAULT_CALLBACKS.append(Clock)
    changes, dropout = TRAINING[args.way]
    prompt, config = read_params("prompt", "finetune")
    prompt = prompt.model_copy(update={"chat": False})
    changes = {"share_prefixes": "never"} | changes
    changes |= {"compile": changes.get("compile", False) and torch.cuda.is_available()}
    lora = config.lora.model_copy(update={"lora_dropout": dropout})
    schemas, together, *_ = SCHEMAS.get(args.way.rpartition("_")[0], ((), 0))
    longest = max(schemas) + 3 * QUESTION if schemas else size["tokens"]
    config = config.model_copy(update={**changes, "lora": lora, "max_length": longest, "accumulation": 1})
    processes = int(os.environ.get("WORLD_SIZE", 1))
    rows = size["steps"] * config.batch_size * processes
    pointer = pointer_to(args.model)
    tokenizer = load.load_tokenizer(pointer)

    def table(filler: int):
        parts = {"db_id": "d", "context": "CREATE TABLE t (a INT);", "answer": "SELECT a FROM t", "language": "en"}
        return to_table({"id": f"q{row}", "question": f"{row:05}{'x' * filler}", **parts} for row in range(rows))

    def table_of_schemas():
        parts = {"answer": "SELECT a FROM t", "language": "en"}
        for row in range(rows):
            number = row // together
            columns = "".join(f", c{column:03} INT" for column in range(schemas[number % len(schemas)] // 10))
            context = f"CREATE TABLE t{number:04} (a INT{columns});"
            question = f"{row:05}{'x' * (QUESTION - len(parts['answer']) - 22)}"
            yield {"id": f"q{row}", "db_id": context[:18], "context": context, "question": question, **parts}

    (example, *_), _ = build_examples(table(0), tokenizer, prompt, size["tokens"])
    start = time.monotonic()
    finetune(
        to_table(table_of_schemas()) if schemas else table(size["tokens"] - len(example["input_ids"])),
        pointer, prompt, config, 1,
        adapter_folder=args.out / "adapter", metrics_folder=args.out / "train", work=args.out / "work",
    )  # fmt: skip
    late = steps[len(steps) // 3 :]
    questions = config.batch_size * processes / statistics.median(late)  # a second compilation may be among them
    tokens = round(questions * size["tokens"])
    rate = {"questions_per_second": round(questions, 1)} if schemas else {"tokens_per_second": tokens}
    return {
        **rate, "steps": len(steps), "cards": processes, "seconds": round(time.monotonic() - start, 1), **peak(),
    }  # fmt: skip


def pointer_to(model: Path) -> dict:
    return {"source": "folder", "name": str(model), "sha256": "0" * 64}


def peak() -> dict:
    """The most memory held on the card, in GB; nothing on a CPU."""
    import torch

    return {"peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1)} if torch.cuda.is_available() else {}


def where() -> dict:
    """Date, card or processor, and versions."""
    import torch

    names = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {"date": datetime.now(UTC).date().isoformat(), "device": device, **{name: version(name) for name in names}}


if __name__ == "__main__":
    main()
