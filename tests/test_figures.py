"""The figures join by id, their counts add up, and they say what they cannot tell."""

import io
import re
from argparse import Namespace
from pathlib import Path

import pytest

from text2sql.base.arms import forms
from text2sql.base.errors import UserError
from text2sql.base.files import read_json, read_jsonl, write_json, write_jsonl
from text2sql.base.params import ArmParams
from text2sql.commands import show
from text2sql.dataset.rows import write_rows
from text2sql.dataset.verdict import RULES
from text2sql.judge.measures import metrics_of
from text2sql.report import run
from text2sql.report.figures import describe
from text2sql.report.plots import loss_rows
from text2sql.report.run import report
from text2sql.scoring.metrics import METRICS
from text2sql.scoring.policy import MATCHES, OUTCOMES
from text2sql.scoring.results import first_rows

ARMS = {
    "base": ArmParams(model="models/base", shots=0),
    "finetuned": ArmParams(model="models/finetuned", shots=0),
}

# Outcome of the base and of the fine-tuned arm for each question; two questions a database.
OUTCOME = {
    "q00": ("match", "match"),
    "q01": ("mismatch", "match"),
    "q02": ("syntax", "mismatch"),
    "q03": ("match", "mismatch"),
    "q04": ("timeout", "vacuous_match"),
    "q05": ("gold_error", "gold_error"),
    "q06": ("no_sql", "no_sql"),
    "q07": ("truncated", "match"),
}
CONTEXT = "CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, NULL), (2, '<b>');"
GOLD = "SELECT a FROM t"
SQL = {"match": GOLD, "vacuous_match": GOLD, "mismatch": "SELECT DISTINCT a FROM t", "syntax": "SELEC a FROM t"}


def score(key: str, outcome: str) -> dict:
    right = outcome in MATCHES
    ex = None if outcome == "gold_error" else right
    return {
        "id": key,
        "outcome": outcome,
        **dict.fromkeys(("ex", "ex_harsh", "ex_strict", "ex_set", "em_text", "em_ast"), ex),
        "format_valid": outcome not in ("no_sql", "truncated"),
        "vacuous": outcome == "vacuous_match",
        "ambiguous_gold": key == "q00",
        "sql": SQL.get(outcome),
        "error": "no such table: u" if outcome == "gold_error" else None,
        "engine": "sqlite (translated)" if key == "q00" else "sqlite",
        "engine_version": "3.50.4",
        "failed": None if ex is None else int(not ex),
    }


def results(key: str, outcome: str) -> dict:
    """The line of the results that belongs to a score."""
    gold = first_rows(("a",), [(1,), (2,), (2,)])
    prediction = {"error": outcome} if outcome not in (*MATCHES, "mismatch") else gold
    if outcome == "mismatch":
        prediction = first_rows(("a",), [(1,), (2,)])
    shown = {"databases": 1, "database": 1, "gold": gold, "prediction": prediction}
    if outcome == "gold_error":
        shown = {"databases": 0, "database": None, "gold": {"error": "no such table: u"}, "prediction": None}
    return {"id": key, **shown}


def write_run(data: Path, outcome: dict[str, tuple[str, str]] = OUTCOME) -> Path:
    """What the stages before the report leave in `data`. The later files are not in the table's order."""
    rows = [
        {
            "id": key, "db_id": f"d{number // 2}", "dialect": "sqlite",
            "context": f"{CONTEXT} CREATE TABLE d{number // 2} (a INT);",
            "question": f"Question {number}?", "answer": GOLD,
            "domain": ("sports", "music")[number % 2], "complexity": None, "language": "en", "database": None,
        }
        for number, key in enumerate(outcome)
    ]  # fmt: skip
    empty = {"read": 0, **dict.fromkeys(RULES, 0), "rejects": {}}
    for name in ("raw/train", "raw/test", "selected/train"):
        write_rows(data / f"{name}.parquet", rows if name == "raw/train" else [])
    write_rows(data / "selected/eval.parquet", rows)
    write_rejects(data / "rejected.parquet")
    read = {"read": len(rows), **dict.fromkeys(RULES, len(rows)), "rejects": {}}
    write_json(data / "funnel.json", {"train": read, "test": empty})
    write_json(
        data / "selection.json",
        {
            "train": {"kept": 0}, "eval": {"kept": len(rows)}, "split": "holdout", "databases": {}, "leaks": {},
            "leaked_by": {"domain": {}, "complexity": {}, "language": {}}, "duplicates": {}, "notes": [],
        },
    )  # fmt: skip
    write_json(data / "raw/account.json", {split: {"left_out": {}, "changed": {}} for split in ("train", "test")})
    write_jsonl(data / "databases/instances.jsonl", [])
    write_jsonl(data / "databases/rows.jsonl", [])
    for place, arm in enumerate(ARMS):
        scores = [score(key, outcomes[place]) for key, outcomes in outcome.items()]
        write_jsonl(data / f"scores/{arm}.jsonl", reversed(scores))
        kept = [results(key, outcomes[place]) for key, outcomes in outcome.items()]
        write_jsonl(data / f"results/{arm}.jsonl", reversed(kept))
        write_jsonl(
            data / f"generations/{arm}.jsonl",
            [
                {
                    "id": key, "text": SQL.get(outcome[key][place], "I cannot tell."), "finish_reason": "stop",
                    "prompt_tokens": 40, "completion_tokens": 3,
                }
                for key in sorted(outcome, reverse=True)
            ],
        )  # fmt: skip
        write_json(data / f"judgements/{arm}/metrics.json", {"enabled": False})
    write_json(data.parent / "metrics/train/prompt_tokens.json", {"limit": 512, "tokens": [40, 50]})
    write_json(data.parent / "metrics/train/summary.json", {"machine": {"processor": "a CPU"}})
    for name, losses in (("loss", [2.5, 1.5, 1.0]), ("eval_loss", [1.25])):
        lines = [f"{step}\t{loss}\n" for step, loss in enumerate(losses, 1)]
        (data.parent / f"metrics/train/{name}.tsv").write_text(f"step\t{name}\n" + "".join(lines))
    return data


def write_rejects(path: Path) -> None:
    from text2sql.dataset.rows import COLUMNS, table_writer

    with table_writer(path, [*COLUMNS, "rule", "error_class"]):
        pass


def made(folder: Path, outcome: dict[str, tuple[str, str]] = OUTCOME) -> tuple[dict, Path]:
    """The summary of a run with these outcomes, and the folder of its metrics."""
    summary = report(write_run(folder / "data", outcome), folder / "metrics", ARMS)
    assert read_json(folder / "metrics/summary.json") == summary
    return summary, folder / "metrics"


def test_the_summary_has_exactly_its_keys_rounded_to_six_digits(tmp_path):
    summary, _ = made(tmp_path)
    assert {key: list(value) for key, value in summary.items() if key != "n"} == {
        "ex": ["base", "finetuned", "over", "gain", "lo", "hi"],
        "em": ["base", "finetuned"],
        "format": ["base", "finetuned"],
    }
    assert summary["n"] == 7  # without the question whose gold is broken
    assert (summary["ex"]["base"], summary["ex"]["finetuned"], summary["ex"]["gain"]) == (0.285714, 0.571429, 0.285714)
    assert summary["format"] == {"base": 0.714286, "finetuned": 0.857143}
    figures = [figure for part in ("ex", "em", "format") for figure in summary[part].values() if figure != "base"]
    assert figures == [round(figure, 6) for figure in figures]
    assert summary["ex"]["lo"] <= summary["ex"]["gain"] <= summary["ex"]["hi"]


def test_counts_add_up_to_the_questions(tmp_path):
    _, metrics = made(tmp_path)
    for place, arm in enumerate(ARMS):
        detail = read_json(metrics / f"arms/{arm}.json")
        assert list(detail["outcomes"]) == list(OUTCOMES)
        assert sum(detail["outcomes"].values()) == len(OUTCOME)
        for outcome, count in detail["outcomes"].items():
            assert count == sum(outcomes[place] == outcome for outcomes in OUTCOME.values())
        assert detail["n"] == 7 and detail["finish_reasons"] == {"stop": 8} and detail["completion_tokens"] == 24
        for label in ("domain", "complexity", "language"):
            assert sum(group["n"] for group in detail[f"by_{label}"].values()) == 7
            right = sum(group["n"] * group["ex"] for group in detail[f"by_{label}"].values())
            assert right == pytest.approx(7 * detail["ex"], abs=0.01)
        assert list(detail["by_complexity"]) == ["none"]


def test_the_comparison_pairs_by_id_whatever_the_order_of_the_files(tmp_path):
    _, metrics = made(tmp_path)
    compared = read_json(metrics / "comparison.json")
    assert (compared["won"], compared["lost"]) == (["q01", "q04", "q07"], ["q03"])
    assert (compared["both_right"], compared["both_wrong"]) == (1, 2)
    assert compared["both_right"] + compared["both_wrong"] + len(compared["won"] + compared["lost"]) == compared["n"]
    assert compared["databases"] == 4
    assert compared["headline"] == "these_databases" and compared["mcnemar_p"] is None
    # By database +1, -1, +1 and +1: in 10 of the 16 ways to sign them the sum is at least 2 from 0.
    assert compared["sign_flip"] == {"p": pytest.approx(10 / 16), "smallest_p": 0.125}
    assert (compared["lo"], compared["hi"]) == tuple(compared["these_databases"][key] for key in ("lo", "hi"))
    assert compared["databases_like_these"]["lo"] <= compared["lo"] < compared["hi"]
    assert {"policy_version", "sqlite", "sqlglot"} <= set(compared)


def test_each_arm_holds_what_a_comparison_with_another_run_needs(tmp_path):
    _, metrics = made(tmp_path)
    for place, arm in enumerate(ARMS):
        detail = read_json(metrics / f"arms/{arm}.json")
        assert detail["questions"] == {
            key: [f"d{number // 2}", score(key, outcomes[place])["ex"]]
            for number, (key, outcomes) in enumerate(OUTCOME.items())
        }
        assert detail["policy_version"] == read_json(metrics / "comparison.json")["policy_version"]


def test_an_arm_with_samples_is_reported_by_its_choice_with_its_coverage(tmp_path, monkeypatch):
    """Of four candidates; what the chosen one said is what the explorer shows."""
    data = write_run(tmp_path / "data")
    agreed = dict.fromkeys(OUTCOME, 4) | {"q02": 1, "q03": 2}
    more = [
        scored | {"samples": 4, "chosen": 1, "agreed": agreed[scored["id"]], "ex_greedy": False, "oracle": True}
        if scored["ex"] is not None
        else scored | {"samples": 4} | dict.fromkeys(("chosen", "agreed", "ex_greedy", "oracle"))
        for scored in read_jsonl(data / "scores/finetuned.jsonl")
    ]
    write_jsonl(data / "scores/finetuned.jsonl", more)
    other = {"text": "the chosen text", "completion_tokens": 5, "finish_reason": "stop"}
    lines = [line | {"samples": [other] * 3} for line in read_jsonl(data / "generations/finetuned.jsonl")]
    write_jsonl(data / "generations/finetuned.jsonl", lines)
    explored = {}
    monkeypatch.setattr(
        run, "write_explorer", lambda path, rows, scores, results, generations, *_: explored.update(generations)
    )
    report(data, tmp_path / "metrics", ARMS)
    detail = read_json(tmp_path / "metrics/arms/finetuned.json")
    assert (detail["completion_tokens"], detail["prompt_tokens"]) == (8 * (3 + 15), 8 * 4 * 40)
    samples = detail["samples"]
    assert (samples["n"], samples["ex_greedy"], samples["oracle"], samples["threshold"]) == (4, 0.0, 1.0, None)
    assert [(point["agreed"], point["n"], point["ex"]) for point in samples["curve"]] == [
        (4, 5, 0.8), (2, 6, 0.666667), (1, 7, 0.571429),
    ]  # fmt: skip
    assert "samples" not in read_json(tmp_path / "metrics/arms/base.json")
    assert {line["text"] for line in explored["finetuned"] if line["id"] != "q05"} == {"the chosen text"}
    rows = (tmp_path / "metrics/plots/coverage.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in rows][1:3] == [["base", "1.0"], ["finetuned", "0.714286"]]
    said = printed(show.coverage_table("finetuned", samples), show.samples_lines("finetuned", detail))
    assert "57.1 % by choice, 0.0 % greedy, 100.0 % with a right one among 4" in " ".join(said.split())
    assert "`ask` calls all of them unsure" in said
    sure = samples | {"threshold": samples["curve"][0]}
    said = printed(show.coverage_table("finetuned", sure), show.samples_lines("finetuned", detail | {"samples": sure}))
    assert "→ 4" in said and "below 4 of 4 `ask` calls an answer unsure" in said


def test_what_is_left_of_an_arm_that_is_not_listed_is_one_line(tmp_path):
    data = write_run(tmp_path / "data")
    write_more_arms(data, {"old": {}})
    with pytest.raises(UserError, match=r"generations/old\.jsonl: of an arm that params\.yaml does not list; delete"):
        report(data, tmp_path / "metrics", ARMS)
    assert not (tmp_path / "metrics/summary.json").exists()


def test_what_answers_cost_is_told_where_a_price_is_known(tmp_path):
    data = write_run(tmp_path / "data")
    lines = [line | {"cost_usd": 0.25} for line in read_jsonl(data / "generations/base.jsonl")]
    write_jsonl(data / "generations/base.jsonl", lines)
    report(data, tmp_path / "metrics", ARMS)
    details = {arm: read_json(tmp_path / f"metrics/arms/{arm}.json") for arm in ARMS}
    assert details["base"]["cost_usd"] == 2.0 and "cost_usd" not in details["finetuned"]
    cells = [re.findall(r"[\w.]+", line) for line in printed(show.cost_table(details)).split("\n")]
    assert [found for found in cells if found[:1] in (["base"], ["finetuned"])] == [
        ["base", "320", "24", "2.0000"], ["finetuned", "320", "24"],
    ]  # fmt: skip


def write_more_arms(data: Path, outcomes: dict[str, dict[str, str]]) -> dict[str, ArmParams]:
    """Adds untrained arms, as the base arm but for these outcomes on some questions. Returns all arms."""
    for arm, changed in outcomes.items():
        for kind in ("scores", "results", "generations"):
            rows = list(read_jsonl(data / f"{kind}/base.jsonl"))
            if kind != "generations":
                make = score if kind == "scores" else results
                rows = [make(row["id"], changed[row["id"]]) if row["id"] in changed else row for row in rows]
            write_jsonl(data / f"{kind}/{arm}.jsonl", rows)
        write_json(data / f"judgements/{arm}/metrics.json", {"enabled": False})
    added = {arm: ArmParams(model="models/base", shots=number) for number, arm in enumerate(outcomes, 1)}
    return {"base": ARMS["base"], **added, "finetuned": ARMS["finetuned"]}


def test_the_headline_is_the_gain_over_the_best_untrained_arm(tmp_path):
    """Examples answer two questions more than the base model does, and fine-tuning one more than they."""
    data = write_run(tmp_path / "data")
    arms = write_more_arms(data, {"one": {"q01": "match"}, "three": {"q01": "match", "q02": "match"}})
    summary = report(data, tmp_path / "metrics", arms)
    compared = read_json(tmp_path / "metrics/comparison.json")
    assert list(summary["ex"]) == ["base", "one", "three", "finetuned", "over", "gain", "lo", "hi"]
    assert (summary["ex"]["over"], summary["ex"]["gain"]) == ("three", 0.0)
    assert (compared["arm"], compared["won"], compared["lost"]) == ("finetuned", ["q04", "q07"], ["q02", "q03"])
    claim, *limits = compared["conclusion"]["claim"], *compared["conclusion"]["limits"]
    assert "not shown that fine-tuning helped or hurt: +0.0 points over three, the best of 3 untrained arms," in claim
    assert any("picked on these same questions" in limit for limit in limits)
    assert (compared["zero_shot"]["over"], round(compared["zero_shot"]["gain"], 6)) == ("base", 0.285714)
    assert sorted((pair["over"], pair["arm"]) for pair in compared["pairs"]) == [
        ("base", "finetuned"), ("base", "one"), ("base", "three"),
        ("one", "finetuned"), ("one", "three"), ("three", "finetuned"),
    ]  # fmt: skip
    (pair,) = (pair for pair in compared["pairs"] if (pair["over"], pair["arm"]) == ("base", "three"))
    assert (round(pair["gain"], 6), pair["won"], pair["lost"]) == (0.285714, 2, 0) and pair["lo"] < pair["gain"]
    text = " ".join(printed(show.verdict(compared), show.pair_table(compared)).split())
    assert "Over base, without examples, it is +28.6 points" in text and "three" in text


def test_golds_without_a_verdict_are_listed_with_their_reason(tmp_path):
    _, metrics = made(tmp_path)
    assert read_json(metrics / "comparison.json")["gold_errors"] == {"q05": "no such table: u"}


def test_a_gold_that_failed_in_one_arm_is_out_of_both(tmp_path):
    outcome = OUTCOME | {"q00": ("match", "gold_error"), "q07": ("gold_error", "match")}
    summary, metrics = made(tmp_path, outcome)
    details = {arm: read_json(metrics / f"arms/{arm}.json") for arm in ARMS}
    assert [details[arm]["n"] for arm in ARMS] == [summary["n"]] * 2 == [5, 5]
    assert [details[arm]["outcomes"]["gold_error"] for arm in ARMS] == [3, 3]
    assert list(read_json(metrics / "comparison.json")["gold_errors"]) == ["q00", "q05", "q07"]
    assert summary["ex"]["gain"] == pytest.approx(summary["ex"]["finetuned"] - summary["ex"]["base"], abs=1e-6)


def test_no_usable_gold_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no evaluation question has a usable gold; see data/scores"):
        made(tmp_path, dict.fromkeys(OUTCOME, ("gold_error", "gold_error")))
    assert [path.name for path in (tmp_path / "metrics").iterdir()] == ["train"]


@pytest.mark.parametrize("name", ["scores/finetuned", "results/finetuned", "generations/base"])
@pytest.mark.parametrize("change", ["less", "more", "other"])
def test_files_that_do_not_join_are_one_line_and_nothing_is_written(name, change, tmp_path):
    data = write_run(tmp_path / "data")
    rows = list(read_jsonl(data / f"{name}.jsonl"))
    extra = [rows[0] | {"id": "q99"}]
    write_jsonl(data / f"{name}.jsonl", {"less": rows[1:], "more": rows + extra, "other": rows[1:] + extra}[change])
    with pytest.raises(UserError, match=rf"{name}\.jsonl: holds \d rows for 8 questions.*; run `dvc repro`"):
        report(data, tmp_path / "metrics", ARMS)
    assert [path.name for path in (tmp_path / "metrics").iterdir()] == ["train"]


def test_a_missing_file_is_one_line_and_nothing_is_written(tmp_path):
    data = write_run(tmp_path / "data")
    (tmp_path / "metrics/train/prompt_tokens.json").unlink()
    with pytest.raises(UserError, match=r"prompt_tokens\.json: no such file; run the stage"):
        report(data, tmp_path / "metrics", ARMS)
    (data / "scores/base.jsonl").unlink()
    with pytest.raises(UserError, match=r"scores/base\.jsonl: no such file; .*run the stage"):
        report(data, tmp_path / "metrics", ARMS)
    assert [path.name for path in (tmp_path / "metrics").iterdir()] == ["train"]


def test_a_metric_of_the_scores_is_a_share_of_its_arm_and_a_flag_a_count(tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "short", None)
    scores = [{**score(key, first), "short": first == "match"} for key, (first, _) in OUTCOME.items()]
    rows = [{"id": key, "db_id": "d", **dict.fromkeys(("complexity", "domain", "language"))} for key in OUTCOME]
    generation = {"finish_reason": "stop", "prompt_tokens": 9, "completion_tokens": 1}
    detail = describe(rows, ["d"] * len(rows), scores, [generation] * len(rows))
    assert detail["short"] == round(2 / 7, 6)
    assert (detail["vacuous"], detail["ambiguous_gold"]) == (0, 1)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    folders = [made(tmp_path / name)[1] for name in ("a", "b")]
    files = [{path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} for folder in folders]
    assert files[0] == files[1] and "outcomes.tsv" in files[0]


def test_a_judge_adds_its_figures(tmp_path):
    data = write_run(tmp_path / "data")
    for arm, accuracy in (("base", 0.1234561), ("finetuned", 0.5)):
        judged = {"enabled": True, "n": 8, "correct": 3, "judge_error": 0, "accuracy": accuracy, "kappa": None}
        write_json(data / f"judgements/{arm}/metrics.json", judged)
        verdict = {"verdict": "incorrect", "reason": "It drops duplicates.", "error": None}
        write_jsonl(data / f"judgements/{arm}.jsonl", [{"id": key, **verdict} for key in OUTCOME])
    summary = report(data, tmp_path / "metrics", ARMS)
    assert summary["judge"] == {"base": 0.123456, "finetuned": 0.5, "kappa": None}
    assert read_json(tmp_path / "metrics/arms/base.json")["judge"]["accuracy"] == 0.1234561
    header, *arms = (tmp_path / "metrics/plots/arms.tsv").read_text().splitlines()
    assert header.split("\t") == ["instrument", "series", "n", "ex", "lo", "hi"]
    assert [line.split("\t")[:2] for line in arms] == [
        [instrument, series] for series in ("base", "finetuned") for instrument in ("execution", "judge")
    ]
    assert arms[3].split("\t")[2:] == ["8", "0.5", "0.136844", "0.694258"]  # Wilson's interval of 3 of 8


def judged(folder: Path, ids: set[str], tuning: set[str]) -> Path:
    """The metrics of a run on these questions, with a judge; `tuning`: those of its tuning part."""
    data, metrics = write_run(folder / "data", {key: OUTCOME[key] for key in OUTCOME if key in ids}), folder / "metrics"
    for arm in ARMS:
        scores = list(read_jsonl(data / f"scores/{arm}.jsonl"))
        rows = [{"id": row["id"], "verdict": ("correct", "incorrect")[row["outcome"] == "syntax"]} for row in scores]
        write_jsonl(data / f"judgements/{arm}.jsonl", [row | {"reason": None, "error": None} for row in rows])
        figures = metrics_of({"enabled": True}, rows, [row["ex"] for row in scores])
        write_json(data / f"judgements/{arm}/metrics.json", figures)
    if tuning:
        selection = read_json(data / "selection.json")
        write_json(data / "selection.json", selection | {"tuning": {"by": "databases", "ids": sorted(tuning)}})
    report(data, metrics, ARMS)
    return metrics


TUNING = {"q00", "q01", "q06", "q07"}  # two of the four databases


def test_each_part_has_the_figures_of_its_questions_alone(tmp_path):
    both = judged(tmp_path / "both", set(OUTCOME), TUNING)
    test = judged(tmp_path / "test", OUTCOME.keys() - TUNING, set())
    tuning = judged(tmp_path / "tuning", TUNING, set())

    def without_names(details: dict) -> dict:
        """Databases are named by their place in the table, and domains by that too: leave the names out."""
        return {key: value for key, value in details.items() if key not in ("questions", "by_domain", "tuning")} | {
            "questions": {key: verdict for key, (_, verdict) in details["questions"].items()}
        }

    for arm in ARMS:
        detail = read_json(both / f"arms/{arm}.json")
        assert without_names(detail) == without_names(read_json(test / f"arms/{arm}.json"))
        assert without_names(detail["tuning"]) == without_names(read_json(tuning / f"arms/{arm}.json"))
        assert detail["questions"].keys() | detail["tuning"]["questions"].keys() == OUTCOME.keys()
    summary = read_json(both / "summary.json")
    assert summary.pop("tuning") == read_json(tuning / "summary.json")
    assert summary == read_json(test / "summary.json") and "judge" in summary
    compared = read_json(both / "comparison.json")
    assert compared["n"] + compared["tuning"]["n"] == 7 and compared["won"] == ["q04"]
    assert "q06" not in (both / "plots/outcomes.tsv").read_text()
    said = " ".join(show.verdict(compared).split())
    assert "All of this is the test part; on the tuning part (4 questions about 2 databases) the gain is +50.0" in said


def test_forms_of_one_model_are_said_to_be_equal_or_not(tmp_path):
    data = write_run(tmp_path / "data")
    for kind in ("scores", "results", "generations"):
        rows = list(read_jsonl(data / f"{kind}/finetuned.jsonl"))
        write_jsonl(data / f"{kind}/merged.jsonl", rows)
        changed = [row | {"text": "SELECT 2"} if kind == "generations" and row["id"] == "q01" else row for row in rows]
        make = {"scores": score, "results": results}
        changed = [make[kind]("q01", "mismatch") if kind in make and row["id"] == "q01" else row for row in changed]
        write_jsonl(data / f"{kind}/served.jsonl", changed)
    for arm in ("merged", "served"):
        write_json(data / f"judgements/{arm}/metrics.json", {"enabled": False})
    arms = ARMS | {
        "merged": ArmParams(model="publish/merged", shots=0),
        "served": ArmParams(model="servers/own.yaml", shots=0, same_as="finetuned"),
    }
    report(data, tmp_path / "metrics", arms)
    merged, served = read_json(tmp_path / "metrics/comparison.json")["forms"]
    assert (merged["arm"], merged["over"], merged["texts"], merged["won"], merged["lost"]) == (
        "merged", "finetuned", 0, 0, 0,
    )  # fmt: skip
    assert (served["texts"], served["verdicts"], served["lost"], served["questions"]) == (1, 7, 1, 8)
    assert not served["equivalence"]["equal"] and served["equivalence"]["margin"] == 0.05
    said = " ".join(show.verdict(read_json(tmp_path / "metrics/comparison.json")).split())
    assert "0 of 8 texts of merged differ from those of finetuned, 0 of 7 verdicts changed (0 won, 0 lost)." in said
    assert "It is not shown that served and finetuned are equal within 5 points (90 % interval" in said


def test_forms_are_compared_with_the_adapter_that_is_asked_alike():
    arms = {
        "base": ArmParams(model="models/base", shots=0),
        "finetuned": ArmParams(model="models/finetuned", shots=0),
        "both": ArmParams(model="models/finetuned", shots=3),
        "file": ArmParams(model="exports/text2sql-Q8_0.gguf", shots=3),
        "merged": ArmParams(model="publish/merged", shots=5),
        "gpt": ArmParams(model="servers/gpt.yaml", shots=0),
    }
    assert forms(arms) == {"file": "both"}


def test_forms_are_compared_with_the_adapter_that_is_sampled_as_often():
    arms = {
        "voted": ArmParams(model="models/finetuned", shots=0, samples=8),
        "finetuned": ArmParams(model="models/finetuned", shots=0),
        "merged": ArmParams(model="publish/merged", shots=0),
        "merged8": ArmParams(model="publish/merged", shots=0, samples=8),
    }
    assert forms(arms) == {"merged": "finetuned", "merged8": "voted"}


# What a reader sees


def printed(*things) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=120)
    for thing in things:
        console.print(thing)
    return console.file.getvalue()


def shown(metrics: Path) -> str:
    compared = read_json(metrics / "comparison.json")
    table = show.result_table({arm: read_json(metrics / f"arms/{arm}.json") for arm in ARMS}, compared)
    return " ".join(printed(table, show.verdict(compared)).split())


def test_it_is_said_where_not_all_verdicts_are_sqlites_own(tmp_path):
    _, metrics = made(tmp_path)
    comparison = read_json(metrics / "comparison.json")
    assert comparison["engines"] == {"sqlite": 7, "sqlite (translated)": 1}
    assert comparison["engine_versions"] == {"sqlite": "3.50.4"}
    assert "engines: sqlite 7, sqlite (translated) 1" in shown(metrics)
    assert show.engines({"sqlite": 8}) == "" and show.engines({"postgres": 8}) == "engines: postgres 8"


def test_what_harsh_databases_take_from_an_arm_is_said(tmp_path):
    _, metrics = made(tmp_path)
    details = {arm: read_json(metrics / f"arms/{arm}.json") for arm in ARMS}
    assert show.harsh(details) == ""
    details["finetuned"]["ex_harsh"] = 0.5
    assert show.harsh(details).endswith(": finetuned 50.0 %")


def test_a_gain_whose_interval_holds_zero_is_not_called_one(tmp_path):
    _, metrics = made(tmp_path)
    conclusion = read_json(metrics / "comparison.json")["conclusion"]
    assert conclusion["verdict"] == "not shown"
    text = shown(metrics)
    assert (
        "No detectable difference, so it is not shown that fine-tuning helped or hurt: +28.6 points over base" in text
    )
    assert "on these 4 databases" in text and "for databases like these the interval is" in text
    assert all(sentence in text for sentence in (conclusion["claim"], *conclusion["limits"]))
    assert "won 3, lost 1" in text and "1 questions left out: no usable gold" in text
    assert "28.6 %" in text and "57.1 %" in text


def test_a_gain_on_every_database_is_detectable(tmp_path):
    summary, metrics = made(tmp_path, dict.fromkeys(OUTCOME, ("mismatch", "match")))
    assert (summary["ex"]["gain"], summary["ex"]["lo"], summary["ex"]["hi"]) == (1.0, 0.522819, 1.0)
    assert read_json(metrics / "comparison.json")["conclusion"]["verdict"] == "better"
    assert "Fine-tuning helped: +100.0 points over base" in shown(metrics)


def test_no_change_at_all_is_no_detectable_difference(tmp_path):
    summary, metrics = made(tmp_path, dict.fromkeys(OUTCOME, ("match", "match")))
    assert (summary["ex"]["gain"], summary["ex"]["lo"], summary["ex"]["hi"]) == (0.0, -0.277181, 0.277181)
    assert "No detectable difference" in shown(metrics)


def test_the_page_shows_the_same_conclusion(tmp_path):
    _, metrics = made(tmp_path)
    conclusion = read_json(metrics / "comparison.json")["conclusion"]
    (said,) = re.findall(r'<p id="conclusion">(.*?)</p>', (metrics / "explorer.html").read_text())
    assert said == " ".join([conclusion["claim"], *conclusion["limits"]])


def test_figures_of_an_earlier_version_are_refused_in_one_line(tmp_path):
    _, metrics = made(tmp_path)
    compared = read_json(metrics / "comparison.json")
    write_json(metrics / "comparison.json", {key: value for key, value in compared.items() if key != "kinds"})
    with pytest.raises(UserError, match="of an earlier version; run `dvc repro report`"):
        show.run(Namespace(metrics=metrics))


def test_stage_times_stand_in_the_order_of_the_pipeline():
    timings = [
        {"stage": "report", "seconds": 1.2, "peak_gib": 0.2},
        {"stage": "generate@base", "seconds": 3, "peak_gib": 1.26, "tokens_per_second": 99.6},
        {"stage": "one of another pipeline", "seconds": 1000, "peak_gib": 0.1},
    ]
    lines = [line.split() for line in printed(show.timing_table(timings)).splitlines()]
    assert lines == [
        ["stage", "seconds", "peak", "GiB", "tokens/s"],
        ["generate@base", "3", "1.3", "100"],
        ["report", "1", "0.2"],
        ["one", "of", "another", "pipeline", "1,000", "0.1"],
        ["together", "1,004", "1.3"],
    ]


def test_the_data_are_said_in_one_line_with_what_leaked_and_what_was_not_asked():
    read = {"train": {"read": 1200, "returns_rows": 1000}, "test": {"read": 300, "returns_rows": 270}}
    selected = {"train": {"available": 1000, "selected": 960}, "eval": {"available": 270, "selected": 270}}
    accounted = {"read": read, "selected": selected, "leaks": {"sql": 40, "removed": 40}}
    assert show.data_line(accounted) == (
        "data: 1,500 rows read, 1,270 valid, 960 train, 270 evaluate, 40 removed from training as leaks "
        "(python -m text2sql data)"
    )
    selected["eval"]["selected"] = 128
    assert "128 of 270 held out evaluate" in show.data_line(accounted)


def test_training_is_said_in_one_line():
    training = {
        "rows": 560, "eval_rows": 0, "too_long": [], "steps": 140, "kept_step": 140, "tokens": 61234,
        "padding_share": 0.031, "trainable_parameters": 4_884_480,
    }  # fmt: skip
    assert show.training_line(training) == (
        "trained: 560 examples, 140 steps, 61,234 tokens (3.1 % padding on top), 4,884,480 parameters"
    )
    sharing = show.training_line(training | {"padding_share": 0, "shared_share": 0.472})
    assert "61,234 tokens (47.2 % shared), " in sharing
    more = training | {"eval_rows": 40, "too_long": ["a", "b"], "kept_step": 100}
    assert show.training_line(more) == (
        "trained: 560 examples and 40 held out, 140 steps (kept: step 100), 61,234 tokens (3.1 % padding on top), "
        "4,884,480 parameters, 2 examples left out as longer than finetune.max_length"
    )
    assert show.training_line(more | {"longest": 1417}).endswith("finetune.max_length; 1,417 would keep them")


def test_curves_are_thinned_to_means_of_neighbouring_steps(tmp_path):
    lines = "".join(f"{step}\t{step % 2}\n" for step in range(1, 2001))
    (tmp_path / "loss.tsv").write_text(f"step\tloss\n{lines}")
    (tmp_path / "eval_loss.tsv").write_text("step\teval_loss\n")
    rows = loss_rows(tmp_path)
    assert len(rows) == 500 and rows[-1] == {"series": "training", "step": 2000, "loss": 0.5}
