"""Runs that differ in their seed alone."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from text2sql.dataset.parts import Part
from text2sql.experiments.lock import touch
from text2sql.experiments.runs import Run


def recipe(run: Run) -> dict[str, Any]:
    """Everything that decides a run but its `seed`: for each stage the command, the parameters, and the checksums of
    what it reads and writes, without what the seed reaches. Two runs of one recipe differ in nothing but the seed."""
    seeded = seeded_stages(run.stages)
    reached = [out["path"] for name in seeded for out in run.stages[name].get("outs", [])]
    return {
        name: {
            "cmd": stage.get("cmd"),
            "params": [{**values, "seed": None} for values in stage.get("params", {}).values()],
            "deps": {
                dep["path"]: dep.get("md5")
                for dep in stage.get("deps", [])
                if not any(touch(dep["path"], path) for path in reached)
            },
            "outs": {out["path"]: out.get("md5") for out in stage.get("outs", []) if name not in seeded},
        }
        for name, stage in run.stages.items()
    }


def seeded_stages(stages: Mapping[str, Mapping]) -> set[str]:
    """The stages that read the parameter `seed`, and all that stand behind them."""
    seeded: set[str] = {
        name for name, stage in stages.items() if "seed" in stage.get("params", {}).get("params.yaml", {})
    }
    while True:
        outs = [out["path"] for name in seeded for out in stages[name].get("outs", [])]
        behind = {
            name
            for name, stage in stages.items()
            if any(touch(dep["path"], out) for dep in stage.get("deps", []) for out in outs)
        }
        if behind <= seeded:
            return seeded
        seeded |= behind


def recipes(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs by recipe, in the order in which the recipes come up. A seed that its recipe has already, run again or
    elsewhere, stands apart."""
    groups: list[tuple[dict, list[Run]]] = []
    for run in runs:
        key, seed = recipe(run), run.params.get("seed")
        alike = (group for other, group in groups if other == key)
        group = next((group for group in alike if all(one.params.get("seed") != seed for one in group)), None)
        if group is None:
            groups.append((key, [run]))
        else:
            group.append(run)
    return [group for _, group in groups]


def mean_ex(recipe: Sequence[Run], part: Part | None = None) -> float:
    """EX after fine-tuning on a part (None: the one that runs are ranked on), averaged over the seeds of a recipe."""
    return statistics.fmean(run.figures(part or run.ranked_on)[f"ex.{run.arm}"] for run in recipe)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, sample standard deviation (n - 1), least and greatest of at least two values."""
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values), "min": min(values), "max": max(values)}
