"""Publishing a finished run: merged and pushed with the real client to a Hub on loopback (tests/hub_server.py)."""

import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Project, copy_of, project_once
from test_pipeline import modules

from text2sql.base.errors import UserError
from text2sql.base.files import read_json
from text2sql.base.params import IngestParams, check, read_params
from text2sql.models.pin import read_pointer
from text2sql.publish.card import RESULTS, base_of, model_card, results_file, results_of
from text2sql.publish.finished import check_finished, check_merged
from text2sql.publish.merge import merge
from text2sql.publish.params import PublishParams, read_publish_params
from text2sql.publish.push import package, push

TOKEN = "hf_testtoken0123456789"
MERGE, PUSH = ("-m", "text2sql", "merge"), ("-m", "text2sql", "push")
SMALL = {"README.md": b"---\nlicense: mit\n---\n", "adapter_model.safetensors": b"\0" * 20_000}


@contextlib.contextmanager
def hub_server(**settings):
    """A Hub in a process of its own; yields its address."""
    command = [sys.executable, str(ROOT / "tests/hub_server.py"), json.dumps({"token": TOKEN} | settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), timeout=60):  # it listens before it prints
                pass
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def state(url: str) -> dict:
    """What has arrived: repositories with their files as bytes, and the number of LFS uploads."""
    return decoded(raw_state(url))


def raw_state(url: str) -> dict:
    with urllib.request.urlopen(f"{url}/state") as response:
        return json.load(response)


def decoded(found: dict) -> dict:
    for repo in found["repos"].values():
        repo["files"] = {name: base64.b64decode(content) for name, content in repo["files"].items()}
    return found


def environment(url: str) -> dict[str, str]:
    """The variables that make the client of another process talk to this Hub."""
    return {"HF_ENDPOINT": url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}


@pytest.fixture
def hub(monkeypatch):
    """A Hub, and this process's client talking to it; yields its address."""
    with hub_server() as url:
        use_hub(monkeypatch, url)
        yield url


def use_hub(monkeypatch, url: str, token: str = TOKEN) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", token)


def params(**changes) -> PublishParams:
    values = {"repo": "me/shop-sql", "model": "models/finetuned", "private": True, "bases": {}}
    return PublishParams.model_validate(values | changes)


def set_publish(project: Project, **changes) -> None:
    """Sets keys of publish/params.yaml, and says what the tiny base model is."""
    path = project.folder / "publish/params.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8")) | changes
    base = read_json(project.folder / "models/base/model.json")["name"]
    values["bases"][base] = {"model": "somebody/tiny-llama", "license": "mit"}
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tutorial, tmp_path_factory) -> Project:
    """A finished run whose adapter is to be published; the tests of this module leave it as it is."""
    project = copy_of(tutorial.folder, tmp_path_factory.mktemp("publish") / "project")
    set_publish(project, repo="me/shop-sql")
    return project


@pytest.fixture(scope="module")
def merged(tutorial, tmp_path_factory) -> Project:
    """The same after merging and pushing, with the whole model to publish; `hub` is what then is on the Hub."""

    def make(folder: Path) -> dict:
        project = copy_of(tutorial.folder, folder)
        set_publish(project, repo="me/shop-sql", model="publish/merged")
        with hub_server() as url:
            project.python(*MERGE)
            project.python(*PUSH, **environment(url))
            return raw_state(url)

    project, raw = project_once(tmp_path_factory, "merged", make)
    project.hub = decoded(raw)
    return project


@pytest.fixture
def inside(finished, monkeypatch) -> Project:
    """The finished run, with its folder as the current one."""
    monkeypatch.chdir(finished.folder)
    return finished


class TestParams:
    def test_the_file_is_whole_and_private(self):
        params = read_publish_params(ROOT / "publish/params.yaml")
        assert params.private and params.repo is None

    @pytest.mark.parametrize(
        ("change", "problem"),
        [({"repo": "no-owner"}, "repo"), ({"model": "models/other"}, "model"), ({"publik": True}, "unknown key")],
    )
    def test_a_wrong_value_is_named(self, change, problem):
        values = yaml.safe_load((ROOT / "publish/params.yaml").read_text(encoding="utf-8")) | change
        with pytest.raises(UserError, match=problem):
            check(values, Path("publish/params.yaml"), PublishParams)


def test_dvc_knows_of_no_other_pipeline_that_could_send_something():
    """Whatever `dvc repro` is told to run (--all-pipelines, --force, --downstream), publishing is not among it."""
    files = subprocess.run(
        ["git", "ls-files", "*dvc.yaml", "*.dvc"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert files.stdout.split() == ["dvc.yaml"]
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    reached = set().union(*(modules(ROOT / stage.get("do", stage)["cmd"].split()[1]) for stage in stages.values()))
    assert reached and not any("publish" in path.relative_to(ROOT).parts for path in reached)


@pytest.mark.pipeline
class TestMerge:
    def test_the_merged_model_answers_as_base_and_adapter_do(self, merged):
        found = read_json(merged.folder / "publish/merged.json")
        assert found["prompts"] == 30  # all there are
        assert merged.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
        assert found["agree"] + len(found["differ"]) == 30
        assert all(row["unmerged"] != row["merged"] for row in found["differ"])

    def test_it_loads_without_peft_and_is_base_and_adapter_in_16_bit(self, merged):
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        base = read_json(merged.folder / "models/base/model.json")["name"]
        model = AutoModelForCausalLM.from_pretrained(merged.folder / "publish/merged", dtype="auto")
        exact = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), merged.folder / "models/finetuned"
        ).merge_and_unload()
        assert model.dtype == torch.bfloat16
        for (name, weight), (_, whole) in zip(model.named_parameters(), exact.named_parameters(), strict=True):
            assert torch.allclose(weight.float(), whole, rtol=2**-7, atol=2**-8), name
        tokenizer = AutoTokenizer.from_pretrained(merged.folder / "publish/merged")
        text = "고객은 몇 명입니까? 🙂 كم"
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text and tokenizer.chat_template

    def test_another_merge_gives_the_same_bytes(self, merged, tmp_path, monkeypatch):
        monkeypatch.chdir(merged.folder)
        merge(read_pointer("models/base"), Path("models/finetuned"), tmp_path / "again")
        again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
        assert again == {path.name: path.read_bytes() for path in Path("publish/merged").iterdir()}

    def test_a_base_from_the_hub_and_one_from_a_folder_give_the_same_bytes(self, inside, hub, tmp_path, monkeypatch):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        local = read_pointer("models/base")
        base = {path.name: path for path in Path(local["name"]).iterdir()}
        commit = push({"README.md": SMALL["README.md"], **base}, params(repo="me/base"))["commit"]
        for name, pointer in (("hub", {"source": "hub", "name": "me/base", "revision": commit}), ("folder", local)):
            merge(pointer, Path("models/finetuned"), tmp_path / name)
        from_hub, from_folder = (
            {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("hub", "folder")
        )
        assert from_hub == from_folder

    def test_another_runs_merged_model_is_refused(self, merged, tmp_path, monkeypatch):
        project = copy_of(merged.folder, tmp_path / "project")
        monkeypatch.chdir(project.folder)
        pointer = read_pointer("models/base")
        check_merged(pointer)
        with pytest.raises(UserError, match="made from another adapter or base; run `python -m text2sql merge` again"):
            check_merged(pointer | {"name": "another"})
        with open("models/finetuned/adapter_model.safetensors", "ab") as file:
            file.write(b"trained again")
        with pytest.raises(UserError, match="made from another adapter"):
            check_merged(pointer)
        Path("publish/merged.json").unlink()
        with pytest.raises(UserError, match="run `python -m text2sql merge`"):
            check_merged(pointer)

    def test_no_adapter_and_quantised_weights_are_refused_in_a_line(self, inside, tmp_path):
        pointer = read_pointer("models/base")
        with pytest.raises(UserError, match="no adapter there"):
            merge(pointer, tmp_path / "none", tmp_path / "out")
        quantised = Path(shutil.copytree(pointer["name"], tmp_path / "quantised"))
        config = read_json(quantised / "config.json") | {"quantization_config": {"quant_method": "bitsandbytes"}}
        (quantised / "config.json").write_text(json.dumps(config))
        with pytest.raises(UserError, match="quantised"):
            merge(pointer | {"name": str(quantised)}, Path("models/finetuned"), tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.pipeline
class TestCard:
    def test_a_dry_run_prints_files_sizes_and_the_card_and_sends_nothing(self, finished):
        done = finished.python(*PUSH, "--dry-run", HF_ENDPOINT="http://127.0.0.1:1", HF_TOKEN="")
        weights = (finished.folder / "models/finetuned/adapter_model.safetensors").stat().st_size
        assert f"{weights:,}  adapter_model.safetensors" in done.stderr
        assert "me/shop-sql, private; nothing was sent" in done.stderr
        assert done.stdout.startswith("---\n") and "## Limits" in done.stdout

    def test_its_metadata_are_the_hubs_and_its_figures_are_the_runs(self, inside):
        from huggingface_hub import ModelCard

        text = str(model_card(read_publish_params(), read_pointer("models/base")))
        data = ModelCard(text).data
        detail, comparison = read_json("metrics/arms/finetuned.json"), read_json("metrics/comparison.json")
        assert (data.base_model, data.license, data.library_name) == ("somebody/tiny-llama", "mit", "peft")
        assert data.language == ["en", "ko"] and data.base_model_relation == "adapter"
        results = {result.metric_type: result for result in data.eval_results}
        assert results["execution_accuracy"].metric_value == detail["ex"]
        assert results["execution_accuracy"].metric_args["interval_95"] == [detail["ex_lo"], detail["ex_hi"]]
        policy = comparison["policy_version"]
        assert results["exact_match"].metric_args == {"n": detail["n"], "policy": policy}
        assert "Answer with the query alone." in text  # the prompt
        assert "| learning_rate | 0.002 |" in text and f"policy\nversion {policy}" in text
        assert "No detectable difference" in text  # of two random models
        assert "{{" not in text and "None" not in text
        assert str(inside.folder) not in text and "/model" not in text

    def test_generated_data_have_no_results_file(self, inside):
        assert results_file(read_publish_params()) == {}

    def test_missing_figures_are_named(self, inside, tmp_path, monkeypatch):
        shutil.copytree("metrics", tmp_path / "metrics", ignore=shutil.ignore_patterns("comparison.json"))
        for name in ("params.yaml", "stages", "publish", "data", "models"):
            (tmp_path / name).symlink_to(inside.folder / name)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError, match=r"comparison\.json: no such file; run the stage"):
            model_card(read_publish_params(), read_pointer("models/base"))

    def test_results_of_other_parameters_are_not_published(self, finished, tmp_path, monkeypatch):
        project = copy_of(finished.folder, tmp_path / "project")
        monkeypatch.chdir(project.folder)
        check_finished()
        project.set(arms__fewshot__shots=2)  # no matter of what is merged
        with pytest.raises(UserError, match=r"\(examples@fewshot, generate@fewshot, report\); run `dvc repro`"):
            check_finished()
        check_finished("finetune")
        project.set(finetune__learning_rate=1.0e-4)
        with pytest.raises(UserError, match=r"\(finetune\); run `dvc repro`"):
            check_finished("finetune")

    def test_a_base_model_without_licence_or_id_is_named(self):
        pointer = {"source": "folder", "name": "나의 모형"}
        with pytest.raises(UserError, match="no entry for 나의 모형"):
            base_of(params(), pointer)
        with pytest.raises(UserError, match="no `model`"):
            base_of(params(bases={"나의 모형": {"license": "mit"}}), pointer)
        hub = {"source": "hub", "name": "me/base"}
        assert base_of(params(bases={"me/base": {"license": "mit"}}), hub).model == "me/base"


DETAIL = {"n": 1_234, "ex": 0.359375, "ex_lo": 0.281467, "ex_hi": 0.445477, "policy_version": 2}


def hub_data() -> IngestParams:
    """The parameters of a run on a data set of the Hub."""
    (ingest,) = read_params("ingest", path=ROOT / "params.yaml")
    return ingest.model_copy(update={"source": "gretel", "revision": "740ab236e64503fba51be1101df7a1be83bf455d"})


def test_the_results_file_is_what_the_hubs_own_client_reads():
    from huggingface_hub import parse_eval_result_entries

    (content,) = results_of("me/shop-sql", hub_data(), DETAIL).values()
    (entry,) = parse_eval_result_entries(yaml.safe_load(content))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("gretelai/synthetic_text_to_sql", "default", 35.94)
    assert entry.dataset_revision == "740ab236e64503fba51be1101df7a1be83bf455d"
    assert entry.source_url == "https://huggingface.co/me/shop-sql"
    assert "1,234 questions" in entry.notes and "28.1 to 44.5" in entry.notes and "policy 2" in entry.notes
    (content,) = results_of(None, hub_data(), DETAIL).values()  # a dry run without a repository
    assert "source" not in yaml.safe_load(content)[0]


@pytest.mark.pipeline
class TestPush:
    def test_results_arrive_beside_the_card_and_those_of_other_data_are_removed(self, hub):
        push(SMALL | results_of("me/shop-sql", hub_data(), DETAIL), params())
        assert b"35.94" in state(hub)["repos"]["me/shop-sql"]["files"][RESULTS]
        push(SMALL, params())
        assert set(state(hub)["repos"]["me/shop-sql"]["files"]) == SMALL.keys()

    def test_what_arrives_is_what_was_listed_byte_for_byte(self, inside, hub, tmp_path):
        done = inside.python(*PUSH, **environment(hub))
        (name, repo), *others = state(hub)["repos"].items()
        record = read_json("publish/pushed.json")
        Path("publish/pushed.json").unlink()
        assert (name, others, repo["private"], len(repo["commits"])) == ("me/shop-sql", [], True, 2)
        arrived = {file: {"size": len(data), "sha256": sha256(data)} for file, data in repo["files"].items()}
        assert arrived == record["files"] and record["commit"] == repo["commits"][-1]
        adapter = Path("models/finetuned/adapter_model.safetensors")
        assert repo["files"]["adapter_model.safetensors"] == adapter.read_bytes()
        assert json.loads(repo["files"]["adapter_config.json"])["base_model_name_or_path"] == "somebody/tiny-llama"
        assert {"README.md", "tokenizer.json", "chat_template.jinja"} <= set(arrived)
        assert TOKEN not in done.stdout + done.stderr + json.dumps(record)
        assert download(hub, tmp_path / "download") == repo["files"]

        config, pointer = read_publish_params(), read_pointer("models/base")
        files = package(config, pointer, f"{model_card(config, pointer)}\n")
        assert not push(files, config)["changed"]  # equal content: no new commit
        assert state(hub)["repos"][name]["commits"] == repo["commits"]

    def test_the_whole_model_arrives_with_its_card(self, merged):
        (repo,) = merged.hub["repos"].values()
        whole = merged.folder / "publish/merged"
        assert set(repo["files"]) == {"README.md", *(path.name for path in whole.iterdir())}
        assert all(repo["files"][path.name] == path.read_bytes() for path in whole.iterdir())
        card = repo["files"]["README.md"].decode()
        assert "library_name: transformers" in card and "of 30\nevaluation prompts" in card
        assert read_json(merged.folder / "publish/pushed.json")["repo"] == "me/shop-sql"

    def test_weights_of_another_kind_are_removed_and_other_files_stay(self, hub):
        """An adapter_config.json beside a whole model would make loaders add the adapter a second time."""
        push(SMALL | {"adapter_config.json": b"{}", "notes.txt": "메모".encode()}, params())
        push(SMALL | {"config.json": b"{}", "model.safetensors": b"whole"}, params())
        files = state(hub)["repos"]["me/shop-sql"]["files"]
        assert set(files) == {"README.md", "notes.txt", "config.json", "model.safetensors"} | SMALL.keys()

    def test_a_wrong_token_none_and_another_owner_end_in_a_line(self, hub, monkeypatch, tmp_path):
        from huggingface_hub import constants

        with pytest.raises(UserError, match="may not write there"):
            push(SMALL, params(repo="them/shop-sql"))
        with pytest.raises(UserError, match="repo: not set"):
            push(SMALL, params(repo=None))
        use_hub(monkeypatch, hub, "hf_wrong")
        with pytest.raises(UserError, match="does not know this token") as wrong:
            push(SMALL, params())
        assert "hf_wrong" not in str(wrong.value) and "\n" not in str(wrong.value)
        use_hub(monkeypatch, hub, "")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        with pytest.raises(UserError, match="set HF_TOKEN"):
            push(SMALL, params())
        assert state(hub)["repos"] == {}

    def test_a_public_repository_gets_nothing_private(self, hub):
        push(SMALL, params(private=False))
        repo = state(hub)["repos"]["me/shop-sql"]
        with pytest.raises(UserError, match="public; make it private"):
            push(SMALL | {"config.json": b"secret"}, params())
        assert not repo["private"] and state(hub)["repos"]["me/shop-sql"] == repo

    def test_a_push_cut_short_commits_nothing_and_goes_on(self, monkeypatch):
        with hub_server(cut=1, hold=1) as url:
            use_hub(monkeypatch, url)
            with pytest.raises(UserError, match="run the same command again"):
                push(SMALL, params())
            kill_in_upload(url)
            repo = state(url)["repos"]["me/shop-sql"]
            assert (repo["files"], len(repo["commits"])) == ({}, 1)
            assert push(SMALL, params())["changed"]
            assert state(url)["repos"]["me/shop-sql"]["files"] == SMALL

    def test_no_hub_ends_in_a_line(self, monkeypatch):
        from huggingface_hub.utils import _http

        monkeypatch.setattr(_http.time, "sleep", lambda _: None)  # between the client's own attempts
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            use_hub(monkeypatch, f"http://127.0.0.1:{nobody.getsockname()[1]}")
            with pytest.raises(UserError, match="nothing was committed"):
                push(SMALL, params())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def kill_in_upload(url: str) -> None:
    """Pushes in another process, and kills it once the Hub has its upload in hand, which it never answers."""
    code = "import test_publish as t; t.push(t.SMALL, t.params())"
    path = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | environment(url) | {"PYTHONPATH": path}, cwd=ROOT
    )
    before = state(url)["uploads"]
    while process.poll() is None and state(url)["uploads"] == before:
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def download(url: str, folder: Path) -> dict[str, bytes]:
    """A repository's files as the real client gets them."""
    code = "import sys, huggingface_hub as hub; hub.snapshot_download('me/shop-sql', local_dir=sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder)], env=os.environ | environment(url), check=True)
    paths = (path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
