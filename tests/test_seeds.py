"""Which runs are seeds of one recipe, by their dvc.lock."""

import json

from text2sql.experiments.runs import Run, to_run
from text2sql.experiments.seeds import recipes


def lock(seed: int, rate: float = 0.1, code: str = "c", data: str = "d") -> dict:
    return {
        "stages": {
            "select": {"cmd": "s", "deps": [{"path": "in", "md5": data}], "outs": [{"path": "data", "md5": data}]},
            "finetune": {
                "cmd": "f",
                "params": {"params.yaml": {"seed": seed, "finetune": {"rate": rate}}},
                "deps": [{"path": "data", "md5": data}, {"path": "code", "md5": code}],
                "outs": [{"path": "model", "md5": f"m{seed}"}],
            },
            "report": {"cmd": "r", "deps": [{"path": "model/weights", "md5": f"w{seed}"}]},
        }
    }


def made(name: str, seed: int, rate: float = 0.1, **rest: str) -> Run:
    params, stages = {"seed": seed, "finetune": {"rate": rate}}, lock(seed, rate, **rest)
    contents = [json.dumps(part).encode() for part in (params, {}, stages, {"n": 1}, {})]
    return to_run(name, name, None, "done", contents, {})


def test_code_data_and_every_other_parameter_make_another_recipe():
    runs = [made("a", 1), made("b", 2), made("c", 3, rate=0.2), made("d", 4, code="x"), made("e", 5, data="y")]
    assert [run.state for run in runs] == ["done"] * 5
    found = recipes([*runs, made("again", 2)])
    assert [[run.name for run in group] for group in found] == [["a", "b"], ["c"], ["d"], ["e"], ["again"]]
