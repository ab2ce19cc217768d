"""The parameters of a run: `params.yaml`, checked before any stage does work.

One class per section, in the order of the pipeline. There are no defaults here, but for an arm's `samples`
and `same_as`: `params.yaml` holds every key, so that what a run used is what the file (and `dvc exp show`) says.
"""

import re
import reprlib
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from text2sql.base.errors import UserError

PATH = Path("params.yaml")

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
NumberFormat = Literal["auto", "bf16", "fp16", "fp32"]


# What transformers' apply_chat_template takes for itself and hands on to no template.
CHAT_ARGUMENTS = frozenset(
    "conversation tools documents chat_template add_generation_prompt continue_final_message tokenize padding "
    "truncation sanitize_control_tokens max_length return_tensors return_dict return_assistant_tokens_mask "
    "tokenizer_kwargs".split()
)


class Section(BaseModel):
    """Strict: an unknown key, a missing key, a number written as text, or one without end is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# The columns of a row that a file can bring (see text2sql/dataset/rows.py).
RowColumn = Literal[
    "id",
    "db_id",
    "dialect",
    "context",
    "question",
    "answer",
    "domain",
    "complexity",
    "language",
    "database",
    "notes",
    "alternatives",
]


class IngestParams(Section):
    source: str
    path: str | None
    test_path: str | None
    config: str | None
    revision: str | None
    columns: dict[RowColumn | Literal["split"], str | None]
    database: str | None
    dialect: str | None
    rows: Positive
    seed: Seed

    @field_validator("database")
    @classmethod
    def database_is_named_without_a_password(cls, database: str | None) -> str | None:
        if database is not None and "://" in database and (problem := problem_of_url(database)):
            raise PydanticCustomError("address", problem)
        return database


def problem_of_url(url: str) -> str | None:
    """What is wrong with the URL of a database of the user's own; None where nothing is."""
    if re.fullmatch(r"(postgresql|postgres|mysql|mariadb)://([^:@/\s]+@)?[^@\s]*", url):
        return None
    passwords = "without a password: that stands in PGPASSWORD, or MYSQL_PWD"
    return f"its form is postgresql://reader@host:5432/database or mysql://…, {passwords}"


class EvaluationParams(Section):
    engine: Literal["auto", "sqlite"]
    postgres_url: str | None
    mysql_url: str | None
    trust_login: bool

    @field_validator("postgres_url")
    @classmethod
    def postgres_is_named_without_a_password(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"postgres(ql)?://([^:@/\s]+@)?[^@\s]*", url):
            form = "its form is postgresql://user@host:5432/database, without a password: that stands in PGPASSWORD"
            raise PydanticCustomError("address", form)
        return url

    @field_validator("mysql_url")
    @classmethod
    def mysql_is_named_without_a_password(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"(mysql|mariadb)://[^:@/\s]+@[^@/:\s]+(:\d+)?/?", url):
            form = "its form is mysql://user@host:3306, without a password: that stands in MYSQL_PWD"
            raise PydanticCustomError("address", form)
        return url


class ValidateParams(Section):
    has_rows: bool | Literal["literal"]
    runs: bool
    returns_rows: bool
    test_rows: Literal["valid", "all"]
    seconds: Annotated[float, Field(gt=0)]


class SelectParams(Section):
    domains: list[str]
    complexities: list[str]
    languages: list[Annotated[str, Field(pattern="^[a-z]{2}$")]]
    split: Literal["auto", "holdout"]
    train_size: Positive | None
    eval_size: Positive | None
    holdout: Fraction
    tuning: Fraction
    seed: Seed


class PopulateParams(Section):
    instances: Annotated[int, Field(ge=0, le=50)]
    beside_rows: bool
    seed: Seed


class ResolveParams(Section):
    source: Literal["wheel", "hub", "folder"]
    name: str
    file: str | None
    revision: str | None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    trust_remote_code: bool


class ArmParams(Section):
    model: Annotated[str, Field(min_length=1)]
    shots: Annotated[int, Field(ge=0, le=50)]
    samples: Annotated[int, Field(ge=1, le=100)] = 1  # candidates: the greedy answer, and others drawn
    same_as: str | None = None  # few arms have it

    @field_validator("model")
    @classmethod
    def a_model_is_a_path_within_the_project(cls, model: str) -> str:
        if "/" not in model or Path(model).is_absolute() or ".." in Path(model).parts:
            form = "a model is a path in the project: models/base, models/finetuned, publish/merged, servers/NAME.yaml"
            raise PydanticCustomError("model", form)
        return model


class PromptParams(Section):
    template: Literal["auto", "en", "ko", "short"]
    context: Literal["schema", "full"]
    schema_: Literal["full", "cut"] = Field(alias="schema")
    schema_tables: Positive
    schema_format: Literal["ddl", "m-schema"]
    values: Annotated[int, Field(ge=0, le=20)]
    notes: bool
    dialect: Literal["auto"] | bool
    chat: bool
    chat_kwargs: dict[str, Any]
    system: str | None

    @model_validator(mode="after")
    def a_full_context_is_shown_as_it_is(self) -> "PromptParams":
        if self.context == "full" and (self.schema_ == "cut" or self.schema_format != "ddl" or self.values):
            raise PydanticCustomError("full_context", "context: full shows a script as it is, so it takes no cut,"
                                      " other format or values; set context: schema")  # fmt: skip
        return self

    @model_validator(mode="after")
    def a_chat_is_asked_for(self) -> "PromptParams":
        if not self.chat and (self.system is not None or self.chat_kwargs):
            raise PydanticCustomError("no_chat", "system and chat_kwargs are a chat's; set chat: true or empty them")
        if taken := sorted(CHAT_ARGUMENTS & self.chat_kwargs.keys()):
            problem = f"chat_kwargs: {', '.join(taken)} is set by the pipeline and not the template's; remove it"
            raise PydanticCustomError("chat_kwargs", problem)  # type: ignore[arg-type]
        return self


class LoraParams(Section):
    """PEFT's LoraConfig by its own names; those not listed here may be added. `loraplus_lr_ratio` is LoRA+'s."""

    model_config = ConfigDict(extra="allow")

    r: Positive
    lora_alpha: Positive
    lora_dropout: Fraction
    target_modules: str | list[str]
    use_dora: bool
    use_rslora: bool
    init_lora_weights: bool | Annotated[str, Field(pattern=r"^(gaussian|olora|orthogonal|pissa|pissa_niter_\d+)$")]
    loraplus_lr_ratio: Annotated[float, Field(ge=1)] | None

    @model_validator(mode="after")
    def added_names_are_pefts(self) -> "LoraParams":
        if self.model_extra:
            from peft import LoraConfig  # takes seconds, so only where a name was added

            unknown = set(self.model_extra) - {field.name for field in fields(LoraConfig)}
            if unknown:
                raise PydanticCustomError("lora_name", f"{', '.join(sorted(unknown))}: no name of PEFT's LoraConfig")
        return self


class FinetuneParams(Section):
    lora: LoraParams
    quantization: Literal["none", "nf4"]
    dtype: NumberFormat
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup: Fraction
    scheduler: Literal["linear", "cosine", "constant_with_warmup"]
    epochs: Literal["auto"] | Annotated[float, Field(gt=0)]
    batch_size: Positive
    accumulation: Positive
    max_length: Positive
    shots: Annotated[int, Field(ge=0, le=50)]
    eval_rows: Annotated[int, Field(ge=0)]
    keep: Literal["last", "best"]
    patience: Positive | None
    attention: Literal["auto", "sdpa", "flash_attention_2", "eager"]
    packing: Literal["none", "padding_free"]
    share_prefixes: Literal["auto", "never"] | Positive
    gradient_checkpointing: Literal["auto"] | bool
    compile: bool
    float8: bool
    liger: bool
    launcher: Literal["none", "accelerate"]
    accelerate: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def a_choice_by_loss_needs_rows(self) -> "FinetuneParams":
        if not self.eval_rows and (self.keep == "best" or self.patience):
            raise PydanticCustomError("eval_rows", "keep: best and patience need eval_rows above 0")
        return self


class Price(Section):
    """US dollars per million tokens."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]


OWN_KEYS = {"model", "messages", "prompt", "stream", "n", "max_tokens", "max_completion_tokens", "temperature"}


class EndpointParams(Section):
    """A server that speaks OpenAI's API, and how it is asked; the sections `generate` and `judge` are such."""

    base_url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")] | None
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None
    key_over_http: bool
    headers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")], Annotated[str, Field(pattern=r"^[ -~]*$")]]
    query: dict[str, str]
    extra_body: dict[str, Any]
    token_limit: Literal["auto", "max_tokens", "max_completion_tokens"]
    temperature: Annotated[float, Field(ge=0, le=2)] | None
    reasoning_effort: Annotated[str, Field(min_length=1)] | None
    requests_per_minute: Positive | None
    tokens_per_minute: Positive | None
    concurrency: Positive
    timeout: Annotated[float, Field(gt=0)]
    max_attempts: Positive
    max_cost_usd: Annotated[float, Field(ge=0)] | None
    prices: dict[str, Price]

    @field_validator("extra_body")
    @classmethod
    def extra_body_adds(cls, body: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(OWN_KEYS & body.keys()):
            raise PydanticCustomError("extra_body", f"{taken[0]} is set by other parameters, or by the prompt")
        return body


# When, how fast and for how much a server is asked; no answer depends on it.
PACE = {
    "key_env", "key_over_http", "requests_per_minute", "tokens_per_minute", "concurrency", "timeout", "max_attempts",
    "max_cost_usd", "prices",
}  # fmt: skip


class GenerateParams(EndpointParams):
    backend: Literal["transformers", "vllm", "openai"]
    max_new_tokens: Positive
    batch_tokens: Literal["auto"] | Positive
    quantization: Literal["none", "nf4"]
    dtype: NumberFormat
    cuda_graphs: bool
    models: dict[str, Annotated[str, Field(min_length=1)]]


class ScoreParams(Section):
    seconds: Annotated[float, Field(gt=0)]


class JudgeParams(EndpointParams):
    enabled: bool
    base_url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")]
    model: Annotated[str, Field(min_length=1)]
    template: Literal["resolve_yn", "verdict"]
    response_format: bool
    max_tokens: Positive
    show_results: Annotated[int, Field(ge=0, le=5)]  # scoring keeps so many rows
    canary: bool
    transport: Literal["chat", "batch"]
    max_asks: Positive
    max_failures: Annotated[int, Field(ge=0)]
    cache: Annotated[str, Field(min_length=1)]


NOT_ARMS = {"gain", "lo", "hi", "over", "kappa"}  # keys that stand beside the arms' in metrics/summary.json


class Params(Section):
    preset: str
    seed: Seed
    compute: Literal["local", "ray"]
    ingest: IngestParams
    evaluation: EvaluationParams
    validate_: ValidateParams = Field(alias="validate")
    select: SelectParams
    populate: PopulateParams
    resolve: ResolveParams
    prompt: PromptParams
    finetune: FinetuneParams
    arms: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], ArmParams]
    generate: GenerateParams
    score: ScoreParams
    judge: JudgeParams

    @field_validator("arms")
    @classmethod
    def arms_make_a_comparison(cls, arms: dict[str, ArmParams]) -> dict[str, ArmParams]:
        if taken := sorted(arms.keys() & NOT_ARMS):
            raise PydanticCustomError("arm_name", f"{taken[0]} is the name of a figure; take another for the arm")
        models = [arm.model for arm in arms.values()]
        if "models/base" not in models or all(model == "models/base" or model.endswith(".yaml") for model in models):
            problem = "a gain needs an untrained arm (model: models/base) and a trained one (model: models/finetuned)"
            raise PydanticCustomError("arms", f"{problem}; add what is missing")
        for name, arm in arms.items():
            if arm.same_as is not None and (arm.same_as == name or arm.same_as not in arms):
                others = ", ".join(other for other in arms if other != name)
                problem = f"{name}.same_as names no other arm; there are {others}"
                raise PydanticCustomError("arms", problem)  # type: ignore[arg-type]
        return arms


def check(values: Any, path: Path = PATH, shape: type[Section] = Params) -> Any:
    """The checked parameters, of `shape`. Raises UserError naming the first key that is unknown, missing, or wrong."""
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        # Where a value may be of several types, pydantic adds the type, in brackets, to the key.
        key = ".".join(part for part in map(str, first["loc"]) if "[" not in part) or "the file"
        message = {"extra_forbidden": "unknown key; remove it or fix its spelling", "missing": "missing key; add it"}
        raise UserError(f"{path}, {key}: {message.get(first['type'], explain(first))}") from error


def explain(problem: Any) -> str:
    """Pydantic's message with the value it is about, shortened to stay on one line."""
    value = problem["input"]
    if problem["type"] in ("address", "arms", "arm_name"):  # an address may hold a password
        return problem["msg"]
    return f"{problem['msg']}, got {'the text ' * isinstance(value, str)}{reprlib.repr(value)}; fix the value"


def read_params(*names: str, path: Path = PATH) -> tuple:
    """The named top-level values of `params.yaml`, in the order asked; all of the file is checked first.

    A stage asks for exactly the names that its entry in dvc.yaml lists under `params`. Raises UserError.
    """
    params = check(read_yaml(path), path)
    return tuple(getattr(params, "validate_" if name == "validate" else name) for name in names)


def read_arm(name: str, path: Path = PATH) -> ArmParams:
    """One arm of params.yaml: what a stage lists as `arms.NAME`. Raises UserError where there is none of this name."""
    (arms,) = read_params("arms", path=path)
    if name not in arms:
        raise UserError(f"{path}, arms: no arm {name}; there are {', '.join(arms)}")
    return arms[name]


def read_compute(path: Path = PATH) -> Literal["local", "ray"]:
    """Where validate, populate and score compute: no byte depends on it, and so no stage. Raises UserError."""
    return read_params("compute", path=path)[0]


def read_yaml(path: Path) -> Any:
    """The values in a YAML file as DVC reads them. Raises UserError when it is missing or broken.

    DVC follows YAML 1.2, where 1e-05 is a number, and so writes it for `-S finetune.learning_rate=1.0e-5`; PyYAML
    follows YAML 1.1 and would call that text.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run from the project's folder") from error
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(
            f"{path}{line}: not valid YAML ({' '.join(str(error.problem).split())}); fix the line"
        ) from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())}); fix the file") from error
