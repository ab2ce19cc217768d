"""A small stand-in for the pipeline: real git, real DVC, real runs, but stages that take no time.

Stages, parameters and metrics have the pipeline's names and layout (tests/test_experiments.py holds the layout to the
real report's); the "model" is arithmetic. Question k of 20 is right for the base model when k % 10 is 0, for the
fine-tuned model when k % 10 is below 2,000 × learning_rate + 2, and `seed` turns the verdict on question `seed` around.
The questions are about five databases; where `select.tuning` is not 0, the first two are the tuning part. A learning
rate above 0.5 fails. The scorer, a file of its own, may take answers for wrong. Every run of a stage adds a line to
`log`; the machine is what the variable PROCESSOR says.
"""

import contextlib
import io
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Self

from conftest import ROOT, Project

from text2sql.cli import main

STEP = '''
import json, os, sys
from pathlib import Path
import yaml

stage = sys.argv[1]
params = yaml.safe_load(Path("params.yaml").read_text())
with open(os.environ["STAGE_LOG"], "a") as log:
    log.write(stage + "\\n")

def write(path, value):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(value) + "\\n")

def read(path):
    return json.loads(Path(path).read_text())

if stage == "ingest":
    write("data/raw/rows.json", {str(k): f"How many of {k}?\\x1b[2J" for k in range(20)})
elif stage == "select":
    import pyarrow as pa, pyarrow.parquet as pq
    rows = list(read("data/raw/rows.json").items())[: params["select"]["eval_size"]]
    Path("data/selected").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": ["q" + k for k, _ in rows], "question": [q for _, q in rows]}), "data/selected/eval.parquet")
elif stage == "finetune":
    if params["finetune"]["learning_rate"] > 0.5:
        sys.exit("the loss is not finite")
    write("models/finetuned/adapter.json", params["finetune"] | {"seed": params["seed"]})
elif stage in ("base", "finetuned"):
    import pyarrow.parquet as pq
    ids = pq.read_table("data/selected/eval.parquet")["id"].to_pylist()
    right = {key: int(key[1:]) % 10 == 0 for key in ids}
    if stage == "finetuned":
        model = read("models/finetuned/adapter.json")
        level = 2000 * model["learning_rate"] + 2
        right = {key: (int(key[1:]) % 10 < level) != (int(key[1:]) == model["seed"]) for key in ids}
    write(f"data/generations/{stage}.json", right)
else:
    scorer, parts = {}, {}
    tuning = ["d0", "d1"] if params["select"]["tuning"] else []
    exec(Path("text2sql/scoring/score.py").read_text(), scorer)
    for arm in ("base", "finetuned"):
        right = read(f"data/generations/{arm}.json")
        right = {key: verdict and key not in scorer["WRONG"] for key, verdict in right.items()}
        questions = {key: ["d" + str(int(key[1:]) // 4), verdict] for key, verdict in right.items()}
        parts[arm] = {
            part: {key: its for key, its in questions.items() if (its[0] in tuning) == (part == "tuning")}
            for part in ("test", "tuning")
        }
    def detail(arm, part):
        questions = parts[arm][part]
        ex = round(sum(right for _, right in questions.values()) / len(questions), 6)
        return {
            "n": len(questions), "ex": ex, "ex_lo": ex - 0.1, "ex_hi": ex + 0.1, "em_ast": ex, "format_valid": 1.0,
            "policy_version": params["report"]["policy"], "questions": questions,
        }
    def summary(part):
        ex = {arm: detail(arm, part)["ex"] for arm in parts}
        gain = round(ex["finetuned"] - ex["base"], 6)
        return {
            "ex": {**ex, "over": "base", "gain": gain, "lo": gain - 0.1, "hi": gain + 0.1},
            "em": ex, "format": {"base": 1.0, "finetuned": 1.0}, "n": len(parts["base"][part]),
        }
    for arm in parts:
        more = {"tuning": detail(arm, "tuning")} if tuning else {}
        write(f"metrics/arms/{arm}.json", detail(arm, "test") | more)
    report = {"processor": os.environ.get("PROCESSOR", "one"), "versions": {"torch": "2.13.0"}}
    write("metrics/comparison.json", {
        "kinds": {"base": "untrained", "finetuned": "trained"}, "arm": "finetuned", "over": "base",
        "policy_version": params["report"]["policy"], "headline": "databases_like_these", "machine": {"report": report},
    })
    write("metrics/summary.json", summary("test") | ({"tuning": summary("tuning")} if tuning else {}))
'''  # fmt: skip  # noqa: E501

PIPELINE = """
stages:
  ingest: {cmd: python step.py ingest, deps: [inputs], outs: [data/raw]}
  select: {cmd: python step.py select, params: [select], deps: [data/raw], outs: [data/selected]}
  finetune:
    cmd: python step.py finetune
    params: [seed, finetune]
    deps: [step.py, prompts, text2sql/training]
    outs: [models/finetuned]
  generate:
    matrix: {arm: [base]}
    cmd: python step.py ${item.arm}
    deps: [data/selected/eval.parquet]
    outs: [data/generations/base.json]
  answer:
    cmd: python step.py finetuned
    deps: [data/selected/eval.parquet, models/finetuned, prompts]
    outs: [data/generations/finetuned.json]
  report:
    cmd: python step.py report
    params: [report, select]
    deps: [data/generations, text2sql/scoring]
    outs:
      - metrics/arms: {cache: false}
      - metrics/comparison.json: {cache: false}
    metrics: [metrics/summary.json: {cache: false}]
artifacts:
  adapter: {path: models/finetuned, type: model, desc: adapter, labels: [text2sql]}
"""

PARAMS = """
preset: quickstart
seed: 7
select:
  eval_size: 20
  tuning: 0.0
finetune:
  learning_rate: 2.0e-3
report:
  policy: 1
"""


class SmallProject(Project):
    """The stand-in in a folder of its own, committed and not yet run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.parent / f"{folder.name}.log"
        for name, text in {
            "step.py": STEP,
            "prompts/en.txt": "Answer with SQL.\n",
            "text2sql/training/trainer.py": "STEPS = 1\n",
            "text2sql/scoring/score.py": "WRONG = []\n",
            "dvc.yaml": PIPELINE,
            "params.yaml": PARAMS,
            "inputs/README.md": "Your files\n",
            ".gitignore": (ROOT / ".gitignore").read_text(),
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        self.run("git", "init", "-q", "-b", "main")
        self.run("git", "config", "user.email", "test@localhost")
        self.run("git", "config", "user.name", "test")
        self.run("dvc", "init", "-q")
        self.run("dvc", "config", "core.analytics", "false")
        self.commit("start")

    @classmethod
    def copy(cls, run: Path, folder: Path) -> Self:
        """The project in a folder, copied into another; its log is empty."""
        project = object.__new__(cls)
        project.folder, project.log = Path(shutil.copytree(run, folder)), folder.parent / f"{folder.name}.log"
        project.log.touch()
        return project

    def environment(self, **env: str) -> dict[str, str]:
        """As of a project, but with the code under test on Python's path, and no colours or widths of this terminal."""
        quiet = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
        return quiet | super().environment(PYTHONPATH=str(ROOT), STAGE_LOG=str(self.log), **env)

    def text2sql(self, *arguments: str, check: bool = True) -> SimpleNamespace:
        """`python -m text2sql` in the project's folder, within this process: many short calls."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(list(arguments))
            except SystemExit as stop:  # argparse
                code = stop.code
        assert not check or code == 0, err.getvalue()
        return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())

    def head(self) -> str:
        return self.run("git", "rev-parse", "HEAD").stdout.strip()
