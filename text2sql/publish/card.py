"""The model card: what was trained on what, what it measures, and what it does not promise, from a run's own files."""

import importlib
import importlib.metadata
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.base.params import IngestParams, read_params
from text2sql.models.prompts import read_templates, without_optional
from text2sql.publish.params import MERGED, RECORD, Base, PublishParams
from text2sql.scoring.conclusions import points
from text2sql.sources import SOURCES

TEMPLATE = Path("publish/card.md.jinja")
RESULTS = ".eval_results/execution_accuracy.yaml"  # in the repository: where the Hub looks for results
# Sources that are no published data set.
OWN = {"synthetic": "generated rows"} | dict.fromkeys(
    ("file", "database", "chat", "alpaca"), "questions of the author's own"
)
METRICS = {"ex": ("execution_accuracy", "Execution accuracy"), "em_ast": ("exact_match", "Exact match of syntax trees")}


def base_of(config: PublishParams, pointer: dict[str, Any]) -> Base:
    """What publish/params.yaml says of the base model, its id on the Hub filled in. Raises UserError for a gap."""
    name = pointer["name"]
    base = config.bases.get(name)
    if base is None:
        raise UserError(f"publish/params.yaml, bases: no entry for {name}; add its licence, and its id on the Hub")
    model = base.model or (name if pointer["source"] == "hub" else None)
    if model is None:
        raise UserError(f"publish/params.yaml, bases, {name}: no `model`; add the base model's id on the Hub")
    return base.model_copy(update={"model": model})


def model_card(config: PublishParams, pointer: dict[str, Any]) -> ModelCard:
    """The card of the model that `config` publishes, in the Hub's format: metadata, with the results, and text.

    Reads params.yaml, metrics/ and data/selection.json of the run. The same run gives the same text. Raises UserError
    when a figure is missing.
    """
    seed, ingest, prompt, finetune, arms, generate = read_params(
        "seed", "ingest", "prompt", "finetune", "arms", "generate"
    )
    comparison, selection = read_json("metrics/comparison.json"), read_json("data/selection.json")
    details = {arm: read_json(f"metrics/arms/{arm}.json") for arm in comparison["kinds"]}
    own = details[comparison["arm"]]
    base, merged = base_of(config, pointer), config.model == MERGED
    hub_id = str(base.model)
    name = config.repo.partition("/")[2] if config.repo else f"{hub_id.partition('/')[2]}-text2sql"
    dataset = dataset_of(ingest)
    languages = sorted(set(own["by_language"]) - {"none"})
    data = ModelCardData(
        model_name=name,
        base_model=hub_id,
        base_model_relation="finetune" if merged else "adapter",
        datasets=[dataset] if dataset else None,
        language=languages or None,
        library_name="transformers" if merged else "peft",
        pipeline_tag="text-generation",
        tags=["text-to-sql", "sqlite"],
        license=base.license,
        license_name=base.license_name,
        license_link=base.license_link,
        eval_results=eval_results(own, ingest, dataset, comparison["policy_version"]),
    )
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        name=name,
        repo=config.repo or f"OWNER/{name}",
        merged=merged,
        agreement=read_json(RECORD) if merged else None,
        base=base,
        pointer=pointer,
        dataset=dataset,
        data_name=OWN.get(ingest.source, ingest.source),
        ingest=ingest,
        generate=generate,
        prompt=prompt,
        templates=sorted({without_optional(template) for template in read_templates(prompt).values()}),
        parameters=flat({"seed": seed, **finetune.model_dump()}),
        training=read_json("metrics/train/summary.json"),
        details=details,
        arms=arms,
        comparison=comparison,
        selection=selection,
        transformers=importlib.metadata.version("transformers"),
        percent=lambda share: "–" if share is None else f"{100 * share:.1f} %",
        points=points,
    )


def flat(values: dict[str, Any], under: str = "") -> dict[str, Any]:
    """Parameters by their whole names, `lora.r`; those that are null left out, a list as its items."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{under}{key}.")
        elif value is not None:
            found[under + key] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return found


def dataset_of(ingest: IngestParams) -> str | None:
    """The data set's id on the Hub, whether it was read there or from a local copy; None where it has none."""
    module = SOURCES.get(ingest.source)
    return getattr(importlib.import_module(f"text2sql.sources.{module}"), "NAME", None) if module else None


def eval_results(detail: dict, ingest: IngestParams, dataset: str | None, policy: str) -> list[EvalResult]:
    """The fine-tuned model's results as the Hub's `model-index` takes them, each with how it was measured."""
    measured = {"n": detail["n"], "policy": policy}
    intervals = {"ex": {"interval_95": [detail["ex_lo"], detail["ex_hi"]]}}
    return [
        EvalResult(
            task_type="text-generation",
            task_name="Text-to-SQL",
            dataset_type=dataset or ingest.source,
            dataset_name=dataset or OWN.get(ingest.source, ingest.source),
            dataset_split="evaluation questions of the run",
            dataset_revision=ingest.revision,
            metric_type=kind,
            metric_name=label,
            metric_value=detail[key],
            metric_args=measured | intervals.get(key, {}),
        )
        for key, (kind, label) in METRICS.items()
    ]


def results_file(config: PublishParams) -> dict[str, bytes]:
    """The fine-tuned model's result as the Hub shows it on the model's page, by the file's name in the repository.

    Nothing where the data are no data set of the Hub, of which every such result must be. Reads params.yaml and the
    run's metrics/. Raises UserError when a figure is missing.
    """
    (ingest,) = read_params("ingest")
    comparison = read_json("metrics/comparison.json")
    return results_of(config.repo, ingest, read_json(f"metrics/arms/{comparison['arm']}.json"))


def results_of(repo: str | None, ingest: IngestParams, detail: dict) -> dict[str, bytes]:
    """The same from an arm's figures, in the format of https://huggingface.co/docs/hub/eval-results: in percent."""
    dataset = dataset_of(ingest)
    if dataset is None:
        return {}
    low, high = 100 * detail["ex_lo"], 100 * detail["ex_hi"]
    entry = EvalResultEntry(
        dataset_id=dataset,
        task_id="default",
        dataset_revision=ingest.revision,
        value=round(100 * detail["ex"], 2),
        source_url=f"https://huggingface.co/{repo}" if repo else None,
        source_name="Model card" if repo else None,
        notes=f"execution accuracy on {detail['n']:,} questions of the run, 95 % interval {low:.1f} to {high:.1f};"
        f" evaluation policy {detail['policy_version']}",
    )
    return {RESULTS: yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False).encode()}
