"""Base models: what is pinned is what is loaded, and everything that can be missing is one clear line."""

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from text2sql.base.errors import UserError
from text2sql.base.files import new_folder
from text2sql.base.params import ResolveParams, read_params
from text2sql.models import load, pin
from text2sql.models.resolve import resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WRONG = "0" * 64


def config(**changes) -> ResolveParams:
    """The repository's own model with some keys changed."""
    (resolve,) = read_params("resolve", path=ROOT / "params.yaml")
    return ResolveParams(**(resolve.model_dump() | changes))


def folder_config(name, **changes) -> ResolveParams:
    return config(**({"source": "folder", "name": str(name), "file": None, "sha256": None} | changes))


def hub_config(**changes) -> ResolveParams:
    values = {"source": "hub", "name": "some/model", "file": None, "revision": COMMIT, "sha256": None}
    return ResolveParams(**(values | {"trust_remote_code": False} | changes))


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """An installed package that holds a file that is no model."""
    folder = tmp_path / "site" / "tiny_wheel"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "tiny.gguf").write_bytes(b"no GGUF")
    info = tmp_path / "site" / "tiny_wheel-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 1.2\n")
    (info / "top_level.txt").write_text("tiny_wheel\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path / "cache"))
    return folder


# A model in a Python package


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": WRONG}, f"tiny.gguf: SHA-256 .* is not resolve.sha256 {WRONG}; reinstall it or fix the parameter"),
        (
            {"name": "no_such_wheel"},
            "resolve.name: the package no_such_wheel is not installed; `make setup` installs it",
        ),
        ({"name": "no.such.wheel"}, "resolve.name: the package no.such.wheel is not installed"),
        ({"file": "huge.gguf"}, r"resolve.file: tiny_wheel has no file huge.gguf \(it has tiny.gguf\)"),
        ({"file": None}, "source wheel needs `file`"),
        ({"sha256": None}, "source wheel needs `file` .* and `sha256`"),
    ],
)
def test_a_wheel_that_is_not_the_pinned_one_is_one_line(package, tmp_path, changes, said):
    with pytest.raises(UserError, match=said) as error:
        resolve(config(**({"name": "tiny_wheel", "file": "tiny.gguf"} | changes)), tmp_path / "base")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "base").exists() and not (tmp_path / "cache").exists()


def test_a_wheels_pointer_pins_version_and_checksum(package):
    digest = hashlib.sha256((package / "tiny.gguf").read_bytes()).hexdigest()
    pointer = pin.pin_wheel(config(name="tiny_wheel", file="tiny.gguf", sha256=digest))
    assert pointer == {
        "source": "wheel", "name": "tiny_wheel", "version": "1.2", "file": "tiny.gguf", "sha256": digest,
    }  # fmt: skip


def test_a_file_that_cannot_be_converted_leaves_nothing(package, tmp_path):
    digest = hashlib.sha256((package / "tiny.gguf").read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r"tiny\.gguf: cannot be converted"):
        resolve(config(name="tiny_wheel", file="tiny.gguf", sha256=digest), tmp_path / "base")
    assert not (tmp_path / "base").exists() and list((tmp_path / "cache").rglob("*.*")) == []


@pytest.mark.pipeline
def test_the_converted_model_is_the_one_in_the_gguf(real_model):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    pointer = pin.read_pointer(real_model)
    path = pin.wheel_file(pointer["name"], pointer["file"])
    direct = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).to(
        torch.bfloat16
    )
    converted = load.load_model(pointer, torch.bfloat16).cpu()
    tokenizers = [AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name), load.load_tokenizer(pointer)]
    weights = converted.state_dict()
    assert direct.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in direct.state_dict().items())

    said = [
        tokenizer.decode(
            model.generate(
                **tokenizer("SELECT name FROM singer WHERE", return_tensors="pt"), do_sample=False, max_new_tokens=4
            )[0]
        )
        for model, tokenizer in zip([direct, converted], tokenizers, strict=True)
    ]
    assert said[0] == said[1] and len(said[0]) > len("SELECT name FROM singer WHERE")


# A local folder


def test_a_folder_is_pinned_by_a_checksum_over_names_and_contents(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    pointer = resolve(folder_config(folder), tmp_path / "base")
    assert pin.read_pointer(tmp_path / "base") == pointer
    assert pointer["sha256"] == pin.pin_folder(folder_config(tiny_model))["sha256"]
    assert resolve(folder_config(folder, sha256=pointer["sha256"]), tmp_path / "base") == pointer
    (folder / "config.json").rename(folder / "config2.json")
    shutil.copy(folder / "config2.json", folder / "config.json")
    with pytest.raises(UserError, match=f"checksum .* is not resolve.sha256 {pointer['sha256']}; restore it or fix"):
        resolve(folder_config(folder, sha256=pointer["sha256"]), tmp_path / "base")
    assert pin.read_pointer(tmp_path / "base") == pointer


def test_a_folder_without_a_model_is_one_line(tmp_path):
    for name in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match=rf"resolve.name: {name} is not a model folder \(it has no config.json\)"):
            resolve(folder_config(name), tmp_path / "base")
    assert not (tmp_path / "base").exists()


# Code that a model brings

MODELING = """
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def own_code(tiny_model, tmp_path) -> Path:
    """The tiny model as one of a type that transformers does not know, with its code beside it."""
    folder = shutil.copytree(tiny_model, tmp_path / "own")
    (folder / "modeling_own.py").write_text(MODELING)
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "own", "architectures": ["OwnModel"]}
    settings["auto_map"] = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def test_code_that_a_model_brings_runs_only_where_that_is_allowed_and_pinned(own_code, tmp_path):
    base = tmp_path / "base"
    with pytest.raises(UserError, match=r"needs code from its own repository, which is not run; .*trust_remote_code"):
        resolve(folder_config(own_code), base)
    digest = pin.folder_sha256(own_code)
    with pytest.raises(UserError, match=f"code runs only where it is pinned; set resolve.sha256: {digest}"):
        resolve(folder_config(own_code, trust_remote_code=True), base)
    pointer = resolve(folder_config(own_code, trust_remote_code=True, sha256=digest), base)
    assert pointer["checks"]["model_type"] == "own" and pointer["checks"]["batches"] is True
    assert type(load.load_model(pointer)).__name__ == "OwnModel"
    (own_code / "modeling_own.py").write_text(MODELING + "\n")
    with pytest.raises(UserError, match="its Python files are not those that resolve pinned; restore them"):
        load.load_model(pointer)


def test_code_of_another_repository_is_refused(own_code, tmp_path):
    settings = json.loads((own_code / "config.json").read_text())
    settings["auto_map"]["AutoModelForCausalLM"] = "somebody/else--modeling_own.OwnModel"
    (own_code / "config.json").write_text(json.dumps(settings))
    config = folder_config(own_code, trust_remote_code=True, sha256=pin.folder_sha256(own_code))
    with pytest.raises(UserError, match=r"code is another repository's \(somebody/else--.*\), which nothing pins"):
        resolve(config, tmp_path / "base")


def test_trust_without_code_is_one_line(tiny_model, tmp_path):
    trusting = folder_config(tiny_model, trust_remote_code=True, sha256=pin.folder_sha256(tiny_model))
    with pytest.raises(UserError, match="brings no code; set false"):
        resolve(trusting, tmp_path / "base")
    with pytest.raises(UserError, match="a GGUF file brings no code; set false"):
        pin.pin(config(trust_remote_code=True))


def test_the_pointer_is_missing_before_resolve_ran(tmp_path):
    with pytest.raises(UserError, match=r"model\.json: no such file; run the stage"):
        pin.read_pointer(tmp_path)


# A model on the hub. Its client reads its settings when it is imported, so each case is a process of its own.


def resolve_alone(config: ResolveParams, folder: Path, **env: str) -> subprocess.CompletedProcess:
    """`resolve` into folder/base with an empty hub cache at folder/hub, as the stage runs it."""
    code = f"""
from text2sql.base.errors import reports_user_errors
from text2sql.models.resolve import resolve
from text2sql.base.params import ResolveParams
config = ResolveParams(**{config.model_dump()!r})
raise SystemExit(reports_user_errors(lambda: print(resolve(config, {str(folder / "base")!r})["revision"]))())
"""
    settings = {"HF_HOME": str(folder / "hub"), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | settings | env, cwd=ROOT
    )


def one_line(done: subprocess.CompletedProcess) -> str:
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1 and "Traceback" not in done.stderr, done.stderr
    return errors[0]


def test_a_hub_model_without_a_revision_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"resolve\.revision: a hub model needs a pinned commit"):
        resolve(hub_config(revision=None), tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_offline_a_hub_model_that_is_not_cached_is_one_line(tmp_path):
    line = one_line(resolve_alone(hub_config(), tmp_path, HF_HUB_OFFLINE="1"))
    assert f"some/model at {COMMIT}: not in the local hub cache" in line and "resolve.source: folder" in line
    line = one_line(resolve_alone(hub_config(revision="main"), tmp_path, HF_HUB_OFFLINE="1"))
    assert "the hub could not be asked which commit 'main' is; give the full 40-digit commit hash" in line
    assert not (tmp_path / "base").exists()


def test_a_hub_that_does_not_answer_is_one_line(tmp_path):
    env = {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HUB_OFFLINE": "0"}
    assert "the hub could not be asked" in one_line(resolve_alone(hub_config(revision="main"), tmp_path, **env))


@contextlib.contextmanager
def serving(folder: Path, broken: threading.Event | None = None) -> Iterator[dict[str, str]]:
    """A hub on the loopback that has one model at one commit, the folder's; gives the variables that lead to it.

    While `broken` is set, every large body ends in its middle.
    """

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def answer(self):
            path = self.path.partition("?")[0]
            names = sorted(path.name for path in folder.iterdir())
            if path.startswith("/api/models/some/model/tree/"):
                body = json.dumps([file_info(folder / name) for name in names]).encode()
                self.reply(200, body)
            elif path in ("/api/models/some/model/revision/main", f"/api/models/some/model/revision/{COMMIT}"):
                siblings = [{"rfilename": name} for name in names]
                self.reply(200, json.dumps({"id": "some/model", "sha": COMMIT, "siblings": siblings}).encode())
            elif path.startswith(f"/some/model/resolve/{COMMIT}/") and path.rpartition("/")[2] in names:
                self.reply(200, (folder / path.rpartition("/")[2]).read_bytes())
            else:
                code = "RevisionNotFound" if path.startswith("/api/models/some/model/") else "RepoNotFound"
                self.reply(404, b"{}", {"X-Error-Code": code})

        def reply(self, status, body, headers=()):
            asked = self.headers.get("Range") if status == 200 else None
            first = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
            self.send_response(206 if asked else status)
            for name, value in {"Content-Length": str(len(body) - first), **dict(headers)}.items():
                self.send_header(name, value)
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
            if status == 200:
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{git_sha1(body)}"')
            self.end_headers()
            cut = broken is not None and broken.is_set() and len(body) > 10_000
            if self.command == "GET":
                part = body[first:]
                self.wfile.write(part[: len(part) // 2] if cut else part)
            self.close_connection = cut

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0"}
        server.shutdown()


@pytest.fixture
def hub(tiny_model):
    with serving(tiny_model) as variables:
        yield variables


def git_sha1(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def file_info(path: Path) -> dict:
    body = path.read_bytes()
    return {"type": "file", "path": path.name, "size": len(body), "oid": git_sha1(body)}


def test_a_hub_model_is_pinned_to_its_commit_and_then_loads_offline(hub, tmp_path):
    done = resolve_alone(hub_config(revision="main"), tmp_path, **hub)
    assert (done.returncode, done.stdout) == (0, f"{COMMIT}\n"), done.stderr
    pointer = pin.read_pointer(tmp_path / "base")
    assert pointer.pop("checks")["batches"] is True
    assert pointer == {"source": "hub", "name": "some/model", "revision": COMMIT}
    again = resolve_alone(hub_config(), tmp_path, HF_HUB_OFFLINE="1")
    assert (again.returncode, again.stdout) == (0, f"{COMMIT}\n"), again.stderr


def test_a_model_or_revision_that_the_hub_does_not_have_is_one_line(hub, tmp_path):
    missing = [
        one_line(resolve_alone(hub_config(name="some/other", revision="main"), tmp_path, **hub)),
        one_line(resolve_alone(hub_config(revision="v9"), tmp_path, **hub)),
    ]
    assert "resolve: the hub has no model some/other at revision main; fix name or revision" in missing[0]
    assert "resolve: the hub has no model some/model at revision v9; fix name or revision" in missing[1]
    assert f"some/other at {COMMIT}: not in" in one_line(resolve_alone(hub_config(name="some/other"), tmp_path, **hub))
    assert not (tmp_path / "base").exists()


# A full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("needs a full file system, and only root can mount a small one")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_no_space_for_a_download_is_one_line(hub, small_disk):
    line = one_line(resolve_alone(hub_config(), small_disk, **hub))
    assert "some/model: no space left on the disk for the download; free some or move HF_HOME" in line
    assert not (small_disk / "base").exists()


def test_no_space_for_a_conversion_is_one_line_and_leaves_nothing(small_disk):
    import torch
    from safetensors.torch import save_file

    full = pytest.raises(UserError, match="no space left on the disk; free some or move TEXT2SQL_CACHE")
    with full, new_folder(small_disk / "models" / "x") as folder:
        (folder / "config.json").write_text("{}")
        save_file({"weight": torch.zeros(100_000)}, folder / "model.safetensors")
    assert list((small_disk / "models").iterdir()) == []


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    """Without a small disk: writes to the device that is always full."""
    with pytest.raises(UserError, match="no space left on the disk"), new_folder(tmp_path / "x") as folder:
        (folder / "config.json").write_text("{}")
        assert not (tmp_path / "x").exists()
        (folder / "weights").symlink_to("/dev/full")
        (folder / "weights").write_bytes(b"1" * 10)
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "x") as folder:
        (folder / "config.json").write_text("{}")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_a_killed_process_left_of_a_folder_is_removed_and_what_a_living_one_writes_stays(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, written = tmp_path / f"x.{ended.pid}.tmp", tmp_path / f"x.{os.getppid()}.tmp"
    left.mkdir()
    written.mkdir()
    with new_folder(tmp_path / "x"):
        assert not left.exists() and written.exists()
