"""Supervised fine-tuning of a LoRA adapter, with the loss on the completion alone."""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from text2sql import models, prompts
from text2sql.errors import UserError
from text2sql.files import atomic_write, read_json, write_json

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase, TrainerCallback

    from text2sql.params import FinetuneParams, PromptParams


def build_examples(
    table: "pd.DataFrame", tokenizer: "PreTrainedTokenizerBase", prompt: "PromptParams", max_length: int
) -> tuple[list[dict], list[str]]:
    """Tokenised examples (`input_ids`, and `labels` that mask the prompt), and the ids of rows longer than max_length.

    A row that is too long is left out whole: cut SQL would teach the model to stop in the middle.
    """
    templates = prompts.read_templates(prompt)
    examples, too_long = [], []
    for row in table.to_dict("records"):
        before = prompts.prompt_ids(prompts.build_prompt(row, templates, prompt), tokenizer, prompt.chat)
        after = prompts.completion_ids(row["answer"], tokenizer)
        if len(before) + len(after) > max_length:
            too_long.append(row["id"])
        else:
            examples.append({"input_ids": before + after, "labels": [-100] * len(before) + after})
    return examples, too_long


def finetune(
    table: "pd.DataFrame",
    pointer: dict[str, Any],
    prompt: "PromptParams",
    config: "FinetuneParams",
    seed: int,
    *,
    adapter_folder: Path,
    metrics_folder: Path,
    work: Path,
) -> dict[str, float]:
    """Trains an adapter on the table's rows and writes it, its loss curve and its counts.

    work: folder for checkpoints; a rerun goes on from the last one there, and it is removed at the end.
    Returns measurements that differ from run to run: tokens_per_second (of real tokens, not padding) and seconds.
    Raises UserError when no row fits `max_length`.
    """
    models.prepare_process()
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback, set_seed
    from trl import SFTConfig, SFTTrainer

    tokenizer = models.load_tokenizer(pointer)
    examples, too_long = build_examples(table, tokenizer, prompt, config.max_length)
    if not examples:
        raise UserError(
            f"params.yaml, finetune.max_length: none of {len(table)} training rows fits {config.max_length}; raise it"
        )

    device, dtype = models.device_and_dtype()
    set_seed(seed)
    trainer = SFTTrainer(
        model=models.load_model(pointer),
        args=SFTConfig(
            output_dir=str(work),
            seed=seed,
            use_cpu=device == "cpu",
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.accumulation,
            num_train_epochs=config.epochs,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            warmup_steps=config.warmup,
            lr_scheduler_type=config.scheduler,
            # Rows of about the same length share a batch: 3 % of padding instead of 30 %.
            train_sampling_strategy="group_by_length",
            bf16=str(dtype) == "torch.bfloat16",
            fp16=str(dtype) == "torch.float16",
            gradient_checkpointing=False,
            max_length=None,
            logging_steps=1,
            save_steps=0.1,
            save_total_limit=2,
            report_to=[],
            disable_tqdm=True,
            include_num_input_tokens_seen="non_padding",
        ),
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=config.lora_targets,
        ),
        callbacks=[progress_bar(sum(len(example["input_ids"]) for example in examples) * config.epochs)],
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_complete_checkpoint(work)
    start = time.monotonic()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.monotonic() - start

    write_adapter(trainer.model, pointer, adapter_folder)
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    with atomic_write(metrics_folder / "loss.tsv") as file:
        file.write("step\tloss\n")
        file.writelines(f"{entry['step']}\t{entry['loss']:.4f}\n" for entry in history)
    prompts_only = [example["labels"].count(-100) for example in examples]
    write_json(metrics_folder / "prompt_tokens.json", {"limit": config.max_length, "tokens": prompts_only})
    tokens = int(trainer.state.num_input_tokens_seen)
    write_json(
        metrics_folder / "summary.json",
        {
            "rows": len(examples),
            "too_long": too_long,
            "steps": trainer.state.global_step,
            "tokens": tokens,
            "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        },
    )
    shutil.rmtree(work)
    # After a resume the seconds are those of the rest alone, so a rate over all tokens would flatter.
    return {} if checkpoint else {"tokens_per_second": round(tokens / seconds, 1)}


COMPLETE = "complete"


def last_complete_checkpoint(work: Path) -> str | None:
    """The newest checkpoint that was written to its end; what a kill left half-written is removed."""
    complete = []
    for folder in work.glob("checkpoint-*"):
        if (folder / COMPLETE).is_file():
            complete.append(folder)
        else:
            shutil.rmtree(folder)
    return str(max(complete, key=lambda folder: int(folder.name.partition("-")[2]))) if complete else None


def write_adapter(model: Any, pointer: dict[str, Any], folder: Path) -> None:
    """Saves a PEFT model's adapter with the base model's own name in place of this machine's path to it."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = pointer["name"]
        config.revision = pointer.get("revision")
    with models.new_folder(folder) as temporary:
        model.save_pretrained(temporary, save_embedding_layers=False)
        (temporary / "README.md").unlink(missing_ok=True)
        # PEFT writes its sets in an order that changes from run to run.
        settings = read_json(temporary / "adapter_config.json")
        settings["target_modules"] = sorted(settings["target_modules"])
        write_json(temporary / "adapter_config.json", settings)


def progress_bar(total: float) -> "TrainerCallback":
    """A trainer callback that shows the tokens trained on, their rate, the time left and the loss.

    It also marks each checkpoint once all of it is written.
    """
    from tqdm import tqdm
    from transformers import TrainerCallback

    class ProgressBar(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            seen = int(state.num_input_tokens_seen)
            self.bar = tqdm(total=int(total), initial=seen, unit=" tokens", unit_scale=True, desc="train")

        def on_log(self, args, state, control, logs=None, **kwargs):
            if logs and "loss" in logs:
                self.bar.update(int(state.num_input_tokens_seen) - self.bar.n)
                self.bar.set_postfix(step=f"{state.global_step}/{state.max_steps}", loss=f"{float(logs['loss']):.3f}")

        def on_save(self, args, state, control, **kwargs):
            Path(args.output_dir, f"checkpoint-{state.global_step}", COMPLETE).touch()

        def on_train_end(self, args, state, control, **kwargs):
            self.bar.close()

    return ProgressBar()
