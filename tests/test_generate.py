"""Generation: that batches, order and kills change nothing."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CONTEXTS, ROOT

from text2sql.base.errors import UserError
from text2sql.base.files import read_json, read_jsonl
from text2sql.base.params import GenerateParams, PromptParams
from text2sql.dataset.rows import to_table
from text2sql.generation.decode import SERVED, decode, plan_batches, serves
from text2sql.generation.generate import generate, open_arm
from text2sql.generation.local import complete_padded, load_arm, stop_tokens, up_to_stop
from text2sql.models import adapters, load
from text2sql.models.prompts import build_prompt, prompt_ids, read_templates

PROMPT = PromptParams(template="en", context="schema", chat=False)
pytestmark = pytest.mark.usefixtures("in_the_project")


def table(count: int = 7):
    """Rows of different lengths, not in the order of their lengths."""
    return to_table(
        {
            "id": f"q{number}",
            "db_id": "d",
            "context": CONTEXTS[number % 3],
            "question": f"Question {'long ' * (number * 5 % 7)}{number}?",
            "answer": f"SELECT {number} FROM t",
            "language": "en",
        }
        for number in range(count)
    )


def prompt_of(row: dict, tokenizer) -> list[int]:
    return prompt_ids(build_prompt(row, read_templates(PROMPT), PROMPT), tokenizer, False)


def config(**changes) -> GenerateParams:
    values = {
        "backend": "transformers", "max_new_tokens": 6, "batch_tokens": 900, "quantization": "none",
        "cuda_graphs": True, "base_url": None, "models": {"base": "base", "finetuned": "tuned"}, "concurrency": 4,
    }  # fmt: skip
    return GenerateParams(**(values | changes))


def run(pointer, folder: Path, adapter: Path | None = None, rows=None, arm="base", **changes) -> list[dict]:
    folder.mkdir(exist_ok=True)
    generate(
        table() if rows is None else rows, pointer, adapter, PROMPT, config(**changes), arm,
        out=folder / "out.jsonl", work=folder,
    )  # fmt: skip
    assert not list(folder.glob("finished*"))
    return list(read_jsonl(folder / "out.jsonl"))


def test_there_is_one_generation_a_row_in_the_tables_order(whole, tokenizer):
    rows = list(read_jsonl(whole / "out.jsonl"))
    assert [row["id"] for row in rows] == [f"q{number}" for number in range(7)]
    assert [row["prompt_tokens"] for row in rows] == [
        len(prompt_of(row, tokenizer)) for row in table().to_dict("records")
    ]
    assert all(row["finish_reason"] == "length" and row["completion_tokens"] == 6 for row in rows)
    assert len({row["prompt_sha256"] for row in rows}) == 7


def test_batches_give_what_one_at_a_time_gives(pointer, tokenizer):
    """In fp32, where padding changes no logit enough to turn a greedy choice."""
    import torch

    model = load.load_model(pointer, torch.float32).cpu().eval()
    stops = stop_tokens(model, tokenizer)
    prompts = [prompt_of(row, tokenizer) for row in table().to_dict("records")]
    together = decode(model, prompts, stops, 8)
    assert together == [complete_padded(model, tokenizer, [prompt], stops, 8, [None])[0] for prompt in prompts]
    assert len({tuple(tokens) for tokens in together}) > 1


@pytest.fixture(scope="module")
def whole(pointer, tmp_path_factory) -> Path:
    """The folder of a run that nothing stopped. A second link, `kept`, keeps the batches that the run removes."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "finished.jsonl").touch()
    (folder / "kept").hardlink_to(folder / "finished.jsonl")
    run(pointer, folder)
    return folder


def killed(whole: Path, folder: Path, batches: int, torn: bytes = b"") -> Path:
    """A work folder as a run leaves it that was killed after some batches, in the middle of writing `torn`."""
    lines = (whole / "kept").read_bytes().splitlines(keepends=True)
    (folder / "finished.jsonl").write_bytes(b"".join(lines[:batches]) + torn)
    return folder


def test_batches_hold_prompts_that_begin_alike_the_longest_first_within_the_budget():
    """The longest first, so that a lack of memory shows at once."""
    long, short = list(range(40)), list(range(100, 120))
    prompts = [[*short, 1], [*long, 1, 2], [*short, 2, 3], [7], [*long, 3], [*short, 4]]
    assert plan_batches(prompts, 10_000, 8) == [[1, 4, 0, 2, 5, 3]]
    assert plan_batches(prompts, 100, 8) == [[1, 4], [0, 2, 5], [3]]
    assert plan_batches(prompts, 1, 8) == [[1], [4], [0], [2], [5], [3]]  # at least one row
    assert plan_batches([], 100, 8) == []


@pytest.mark.parametrize(("batches", "torn"), [(0, b'{"rows": [{"id"'), (2, b'{"rows": [{"id": "q'), (3, b"")])
def test_a_killed_run_goes_on_to_the_same_bytes(batches, torn, pointer, whole, tmp_path):
    run(pointer, killed(whole, tmp_path, batches, torn))
    assert (tmp_path / "out.jsonl").read_bytes() == (whole / "out.jsonl").read_bytes()


def test_finished_batches_are_not_generated_again(pointer, whole, tmp_path):
    lines = (whole / "kept").read_text().splitlines()
    marked = json.loads(lines[0])
    marked["rows"][0]["text"] = "kept from the killed run"
    (tmp_path / "finished.jsonl").write_text(json.dumps(marked) + "\n" + lines[1] + "\n")
    rows = run(pointer, tmp_path)
    assert [row["id"] for row in rows if row["text"] == "kept from the killed run"] == [marked["rows"][0]["id"]]


def test_a_prompt_without_room_is_kept_with_its_reason(pointer, tokenizer, tmp_path):
    rows = table()
    rows.loc[2, "question"] = "x" * 1100
    generated = run(pointer, tmp_path, rows=rows)
    assert [row["finish_reason"] for row in generated] == ["length"] * 2 + ["prompt_too_long"] + ["length"] * 4
    assert (generated[2]["text"], generated[2]["completion_tokens"]) == ("", 0)
    assert generated[2]["prompt_tokens"] == len(prompt_of(rows.to_dict("records")[2], tokenizer)) > 1000
    assert [list(row) for row in generated] == [list(generated[0])] * 7


def test_a_table_whose_prompts_all_lack_room_has_its_generations_too(pointer, tmp_path):
    rows = table(2)
    rows["question"] = "x" * 1100
    assert [row["finish_reason"] for row in run(pointer, tmp_path, rows=rows)] == ["prompt_too_long"] * 2


def test_a_stop_is_told_from_the_token_limit(tmp_path, tiny_model):
    """A model whose end token always has the largest logit stops at once; the untrained one never does."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.norm.weight.zero_()  # all logits equal 0, and the first of equals is the greedy choice: <pad>
    model.generation_config.eos_token_id = [0, 1]
    model.save_pretrained(folder)
    rows = run({"source": "folder", "name": str(folder)}, tmp_path / "out")
    assert {(row["finish_reason"], row["completion_tokens"], row["text"]) for row in rows} == {("stop", 1, "")}


def test_what_follows_the_first_stop_is_padding():
    assert up_to_stop([5, 6, 1, 0, 0], {1}) == [5, 6, 1]
    assert up_to_stop([5, 6], {1}) == [5, 6]
    assert up_to_stop([], {1}) == []


@pytest.fixture(scope="module")
def adapter(pointer, tmp_path_factory) -> Path:
    """An adapter with random weights in both its matrices, as if it had been trained."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(load.load_model(pointer), config).save_pretrained(folder)
    return folder


def test_the_adapter_changes_what_is_generated(pointer, adapter, whole, tmp_path):
    base = list(read_jsonl(whole / "out.jsonl"))
    tuned = run(pointer, tmp_path / "finetuned", adapter=adapter)
    assert [row["text"] for row in base] != [row["text"] for row in tuned]
    assert [row["prompt_sha256"] for row in base] == [row["prompt_sha256"] for row in tuned]


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({}, True),
        ({"use_rslora": True}, True),
        ({"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1]}, True),
        ({"use_dora": True}, False),
        ({"rank_pattern": {"q_proj": 2}}, False),
        ({"modules_to_save": ["lm_head"]}, False),
        ({"bias": "lora_only"}, False),
        ({"target_modules": ["embed_tokens"]}, False),
    ],
)
def test_an_adapter_is_merged_as_peft_merges_it(settings, plain, pointer, tmp_path):
    """To the bit; what is more than plain LoRA is left to PEFT."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(**{"r": 4, "target_modules": "all-linear", "init_lora_weights": False} | settings)
    get_peft_model(load.load_model(pointer), config).save_pretrained(tmp_path)
    expected = PeftModel.from_pretrained(load.load_model(pointer), tmp_path).merge_and_unload().state_dict()
    untouched = load.load_model(pointer)
    assert adapters.merge(untouched, tmp_path) is plain
    base = load.load_model(pointer).state_dict()
    for model, weights in ((load_arm(pointer, tmp_path, "none"), expected), (untouched, expected if plain else base)):
        found = model.state_dict()
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[name], weights[name]) for name in weights)


# Answers for `ask`


def test_a_fine_tuned_arm_answers_as_the_stage_does(pointer, adapter, tmp_path):
    answer = open_arm(pointer, adapter, PROMPT.chat, config(), "finetuned")
    texts = [build_prompt(row, read_templates(PROMPT), PROMPT) for row in table().to_dict("records")]
    assert [found for (found,) in answer(texts)] == [
        row["text"] for row in run(pointer, tmp_path / "out", adapter=adapter, arm="finetuned")
    ]


def test_an_arm_answers_as_the_stage_does_and_samples_by_seed(pointer, whole):
    answer = open_arm(pointer, None, PROMPT.chat, config(), "base")
    texts = [build_prompt(row, read_templates(PROMPT), PROMPT) for row in table().to_dict("records")]
    assert [found for (found,) in answer(texts)] == [row["text"] for row in read_jsonl(whole / "out.jsonl")]
    sampled = answer(texts[:2], samples=3, seed=1)
    assert [len(found) for found in sampled] == [3, 3]
    assert [found[0] for found in sampled] == [found for (found,) in answer(texts[:2])]
    assert answer(texts[:2], samples=3, seed=1) == sampled
    assert answer(texts[:2], samples=3, seed=8) != sampled
    assert [len(set(found)) for found in sampled] == [3, 3]


# Our decoding loop against transformers' own

LLAMA = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "pad_token_id": 0, "eos_token_id": 1,
    "bos_token_id": 2,
}  # fmt: skip
SMALL_EXPERTS = {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 4}
OTHER_NAMES = {
    "falcon": {"alibi": False},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "qwen2_moe": SMALL_EXPERTS,
}
WITHOUT = {"gpt2": set(LLAMA) - {"vocab_size", "pad_token_id", "eos_token_id", "bos_token_id"}}
OWN_HEADS = {"falcon", "gpt_neox", "opt", "phi"}  # as many key heads as heads


def tiny(architecture: str, **changes):
    """A model of two layers with random weights, large enough that its answers differ."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    without = WITHOUT.get(architecture, {"num_key_value_heads", "head_dim"} if architecture in OWN_HEADS else set())
    settings = {key: value for key, value in LLAMA.items() if key not in without}
    config = AutoConfig.for_model(architecture, **(settings | OTHER_NAMES.get(architecture, {}) | changes))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.normal_(std=0.3)
    return model


def some_prompts() -> list[list[int]]:
    """Token ids of different lengths: two groups that begin alike, one prompt that begins like another, and loners."""
    import torch

    source = torch.Generator().manual_seed(3)

    def draw(count: int) -> list[int]:
        return torch.randint(12, 97, (count,), generator=source).tolist()

    one, other = draw(20), draw(30)
    return [one + draw(3), draw(5), one + draw(9), other + draw(4), draw(17), other + draw(11), one, one + draw(1)]


STOPS = {1, *range(40, 60)}


def alone(model, prompt: list[int]) -> list[int]:
    """The greedy answer to one prompt by transformers' own `generate`."""
    import torch

    ids = torch.tensor([prompt])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24, eos_token_id=sorted(STOPS),
        pad_token_id=0,
    )  # fmt: skip
    return output[0, len(prompt) :].tolist()


@pytest.mark.parametrize("architecture", sorted(SERVED))
def test_every_architecture_gives_what_generate_gives_in_fp32(architecture):
    model = tiny(architecture)
    assert serves(model, 64)
    answers = decode(model, some_prompts(), STOPS, 24)
    assert answers == [alone(model, prompt) for prompt in some_prompts()]
    assert len({len(answer) for answer in answers}) > 1  # rows have left the batch at different steps


def test_what_the_loop_cannot_serve_goes_to_generate(tmp_path, tokenizer):
    """Positions told to attention by ALiBi, and attention to the last few tokens only."""
    assert serves(tiny("mistral", sliding_window=64), 64) and not serves(tiny("mistral", sliding_window=64), 65)
    model = tiny("falcon", alibi=True, vocab_size=258, max_position_embeddings=1024)
    assert not serves(model, 64)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    pointer = {"source": "folder", "name": str(tmp_path / "model")}
    assert [row["completion_tokens"] for row in run(pointer, tmp_path / "out")] == [6] * 7
    answer = open_arm(pointer, None, False, config(), "base")
    sampled = answer(["a question", "another"], samples=2, seed=3)
    assert sampled == answer(["a question", "another"], samples=2, seed=3)
    assert [found[:1] for found in sampled] == answer(["a question", "another"])


def test_an_adapter_beside_a_4_bit_base(pointer, adapter, whole, tmp_path):
    """bitsandbytes computes NF4 on CPUs too; its rounding changes the texts of a model with random weights."""
    tuned = run(pointer, tmp_path / "one", adapter=adapter, arm="finetuned", quantization="nf4")
    assert tuned == run(pointer, tmp_path / "two", adapter=adapter, arm="finetuned", quantization="nf4")
    assert [row["text"] for row in tuned] != [
        row["text"] for row in run(pointer, tmp_path / "base", quantization="nf4")
    ]
    assert [row["completion_tokens"] for row in tuned] == [6] * 7


def test_vllm_that_is_not_installed_is_one_line(pointer, tmp_path):
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    with pytest.raises(UserError, match=r"generate\.backend: vllm is not installed; `pip install -e '\.\[vllm\]'"):
        run(pointer, tmp_path, backend="vllm")


# Several processes


def test_two_processes_write_what_one_writes(tiny_model, adapter, whole, tmp_path):
    """Real processes, as `accelerate launch` starts them, each with its share of the batches."""
    script = tmp_path / "stage.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "sys.path[:0] = sys.argv[3:5]\n"
        "import torch\n"
        "torch.set_num_threads(1)\n"
        "from test_generate import PROMPT, config, generate, table\n"
        "pointer, work = {'source': 'folder', 'name': sys.argv[1]}, Path(sys.argv[2])\n"
        "generate(table(), pointer, None, PROMPT, config(), 'base', out=work / 'out.jsonl', work=work)\n"
        "print(sorted(path.name for path in work.iterdir()))\n"
    )
    work = tmp_path / "work"
    work.mkdir()
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu"]
    options = ["--main_process_port", "0", "--mixed_precision", "no", "--num_machines", "1", "--dynamo_backend", "no"]
    done = subprocess.run(
        [*launch, *options, str(script), str(tiny_model), str(work), str(ROOT), str(ROOT / "tests")],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (work / "out.jsonl").read_bytes() == (whole / "out.jsonl").read_bytes()
    assert [path.name for path in work.iterdir()] == ["out.jsonl"]


# A server


class Stub:
    """Stands in for a server with a model: it says so, by a text made of the prompt, and fails as it is told."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.failures: list = []  # for the next requests: (status, headers, body)
        self.busy = self.busiest = 0

    async def answer(self, request):
        import asyncio

        from starlette.responses import JSONResponse

        body = await request.json()
        self.asked.append(body | {"path": request.url.path, "key": request.headers.get("authorization")})
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        await asyncio.sleep(0)
        self.busy -= 1
        if self.failures:
            status, headers, content = self.failures.pop(0)
            return JSONResponse(content, status, headers)
        chat = "messages" in body
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        text = f"stub: {prompt[-30:]} 가수 {body.get('seed', '')}"
        choice = {"index": 0, "finish_reason": "length" if "2?" in prompt else "stop"}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": 3, "total_tokens": len(prompt) + 3}
        return JSONResponse({"id": "1", "object": "x", "created": 1, "model": "m", "choices": [choice], "usage": usage})


@pytest.fixture
def stub(monkeypatch):
    """A stub on a free port of this machine, in a thread; its address is stub.url."""
    import socket
    import threading

    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Route

    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    server = Stub()
    paths = ("/v1/chat/completions", "/v1/completions")
    app = Starlette(routes=[Route(path, server.answer, methods=["POST"]) for path in paths])
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        server.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        runner = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=runner.run, kwargs={"sockets": [listening]})
        thread.start()
        yield server
        runner.should_exit = True
        thread.join()


def test_a_server_answers_row_by_row_under_the_arms_name(stub, tmp_path):
    rows = run({}, tmp_path, backend="openai", base_url=stub.url, arm="finetuned")
    assert [row["id"] for row in rows] == [f"q{number}" for number in range(7)]
    assert all(row["text"].startswith("stub: ") and row["text"].endswith(" 가수 ") for row in rows)
    assert [row["finish_reason"] for row in rows] == ["stop"] * 2 + ["length"] + ["stop"] * 4
    assert [row["completion_tokens"] for row in rows] == [3] * 7 and rows[0]["prompt_tokens"] > 30
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in stub.asked} == {("tuned", 0.0, 6)}
    assert {body["path"] for body in stub.asked} == {"/v1/completions"}
    assert {body["key"] for body in stub.asked} == {"Bearer sk-secret-of-the-test"}
    assert 1 <= stub.busiest <= 4
    assert "sk-secret" not in (tmp_path / "out.jsonl").read_text()


def test_a_chat_and_samples_through_a_server(stub):
    answer = open_arm({}, None, True, config(backend="openai", base_url=stub.url), "base")
    assert answer(["one", "two"], samples=2, seed=4) == [
        ["stub: one 가수 ", "stub: one 가수 5"],
        ["stub: two 가수 ", "stub: two 가수 5"],
    ]
    assert {body["path"] for body in stub.asked} == {"/v1/chat/completions"}


def test_a_server_that_fails_for_a_while_is_asked_again(stub, tmp_path):
    busy = (429, {"retry-after": "0.01"}, {"error": {"message": "later"}})
    stub.failures = [busy, (503, {}, {"error": {"message": "starting"}}), (200, {}, {"no": "completion"})]
    rows = run({}, tmp_path, backend="openai", base_url=stub.url, concurrency=1)
    assert len(rows) == 7 and len(stub.asked) == 10


def test_a_prompt_that_the_server_has_no_room_for_is_kept_with_its_reason(stub, tmp_path):
    stub.failures = [(400, {}, {"error": {"message": "This model's maximum context length is 8 tokens"}})]
    rows = run({}, tmp_path, backend="openai", base_url=stub.url, concurrency=1)
    assert [(row["finish_reason"], row["text"] == "") for row in rows] == [("prompt_too_long", True)] + [
        ("length" if number == 2 else "stop", False) for number in range(1, 7)
    ]


def test_a_server_that_refuses_stops_the_run_and_the_rerun_asks_the_rest(stub, tmp_path):
    whole = run({}, tmp_path / "whole", backend="openai", base_url=stub.url)
    stub.asked.clear()
    refused = (401, {}, {"error": {"message": "wrong key sk-secret-of-the-test"}})
    fine = (200, {}, {"choices": [{"text": "kept", "finish_reason": "stop", "index": 0}], "model": "m", "id": "1",
                      "object": "x", "created": 1})  # fmt: skip
    stub.failures = [fine, fine, refused]
    with pytest.raises(UserError) as caught:
        run({}, tmp_path / "out", backend="openai", base_url=stub.url, concurrency=1)
    assert "status 401" in str(caught.value) and "[key]" in str(caught.value) and "sk-" not in str(caught.value)
    asked = len(stub.asked)
    rows = run({}, tmp_path / "out", backend="openai", base_url=stub.url, concurrency=1)
    assert [row["text"] for row in rows[:2]] == ["kept", "kept"] and rows[3:] == whole[3:]
    assert 4 <= len(stub.asked) - asked <= 5  # the third was refused; the fourth may have been on its way


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"base_url": None}, r"generate\.base_url: backend openai needs the server's address"),
        ({"base_url": "http://localhost:1/v1?key=sk-1"}, r"generate\.base_url: the address holds more than host"),
        ({"base_url": "http://localhost:1/v1", "models": {}}, r"generate\.models: no name for base"),
    ],
)
def test_settings_that_no_server_can_be_asked_with(changes, problem, tmp_path):
    with pytest.raises(UserError, match=problem):
        run({}, tmp_path, backend="openai", **changes)


def test_the_gpu_benchmark_runs_on_a_tiny_model(tmp_path):
    """A way of generating and one of training, each in a process of its own, so that it runs where there is a card."""
    command = [sys.executable, "benchmarks/gpu.py", "--small", "--ways", "stage", "train_nf4_checkpointing"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "gpu.json")], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = read_json(tmp_path / "gpu.json")["results"]
    assert list(results) == ["model", "stage", "train_nf4_checkpointing"]
    assert results["stage"]["prompts"] == 6 and results["stage"]["tokens_per_second"] > 0
    assert results["train_nf4_checkpointing"]["steps"] == 3
