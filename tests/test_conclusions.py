"""Sentences: each says what its interval holds, whichever way it comes out."""

import re

import pytest

from text2sql.base.files import write_json
from text2sql.cli import main
from text2sql.dataset.rows import write_table
from text2sql.scoring.conclusions import (
    agreed,
    best_of,
    changed,
    chosen_elsewhere,
    conclude,
    direction,
    equality,
    points,
    probability,
    too_small,
)
from text2sql.scoring.forms import Answered, compare_texts
from text2sql.scoring.stats import agreement, equivalence, estimate_gain, holm


def gained(won, lost, same, databases, seeds=1):
    """The gain of a run that won and lost so many questions, dealt out over databases in turn."""
    before = [False] * won + [True] * lost + [True] * same
    after = [True] * won + [False] * lost + [True] * same
    return estimate_gain([before], [after] * seeds, [place % databases for place in range(len(before))])


def said(*figures, **options):
    return conclude(gained(*figures), arm="fine-tuned", over="few-shot", **options)


def test_fine_tuning_that_helped():
    found = said(40, 3, 85, 18, among=2)
    assert found.verdict == "better"
    assert found.claim.startswith(
        "Fine-tuning helped: +28.9 points over few-shot, the best of 2 untrained arms, on databases like these "
        "(95 % interval +"
    )
    assert "128 questions about 18 databases, won 40, lost 3, p < 0.0001)" in found.claim
    assert found.limits == (
        "The best of 2 untrained arms was picked on these same questions, which flatters it and makes the gain look "
        "smaller.",
        "This is no statement about other kinds of databases or questions.",
        "Training luck is unmeasured: with another seed the gain may be another.",
    )


def test_fine_tuning_that_hurt():
    found = said(3, 40, 85, 18)
    assert found.verdict == "worse"
    assert found.claim.startswith("Fine-tuning hurt: -28.9 points over few-shot on databases like these")


def test_a_loss_against_the_best_of_several_may_be_the_luck_of_the_pick():
    close = gained(2, 10, 116, 18)
    assert 0.025 < close.headline.p < 0.05
    assert conclude(close, arm="fine-tuned", over="few-shot").verdict == "worse"
    found = conclude(close, arm="fine-tuned", over="few-shot", among=2)
    assert found.verdict == "not shown"
    assert found.claim.startswith("All comparisons considered, it is not shown that fine-tuning helped or hurt: -6.2")
    assert found.limits[0].endswith("flatters it: the loss may be no more than that.")
    assert said(3, 40, 85, 18, among=2).claim.startswith("Fine-tuning hurt: -28.9 points over few-shot, the best of 2")


def test_fine_tuning_that_is_not_shown_to_help_says_what_would_have_been_seen():
    found = said(12, 8, 108, 18)
    assert found.verdict == "not shown"
    assert found.claim.startswith(
        "No detectable difference, so it is not shown that fine-tuning helped or hurt: +3.1 points over few-shot"
    )
    least = 100 * gained(12, 8, 108, 18).alike.least
    assert found.claim.endswith(f"could have been expected to detect (four times in five) is {least:.1f} points.")
    hopeless = said(1, 0, 1, 2)
    assert "No gain is so large that this run" in hopeless.claim


def test_a_claim_is_made_just_where_the_interval_leaves_out_zero():
    for won in range(0, 30, 6):
        for lost in range(0, 30, 6):
            for databases in (1, 3, 5, 12):
                gain = gained(won, lost, 30, databases)
                found = conclude(gain, arm="a", over="b")
                claimed = re.match(r"Fine-tuning (helped|hurt):", found.claim)
                shown = gain.headline.lo > 0 or gain.headline.hi < 0
                assert bool(claimed) == shown == (found.verdict != "not shown")
                if claimed:
                    assert (claimed[1] == "helped") == (gain.headline.lo > 0) == (gain.gain > 0)


def test_two_training_runs_and_two_untrained_arms_have_words_of_their_own():
    worse = conclude(gained(3, 40, 85, 18), arm="slower", over="quickstart", trainings=2)
    assert worse.claim.startswith("slower is worse than quickstart: -28.9 points on databases like these (")
    assert worse.limits[-1].startswith("Training luck is unmeasured")
    same = conclude(gained(3, 4, 85, 18), arm="few-shot", over="zero-shot", trainings=0)
    assert "it is not shown that few-shot and zero-shot differ" in same.claim
    assert not any("luck" in limit for limit in same.limits)


def test_one_and_two_databases_say_nothing_about_others():
    one, two = said(40, 3, 85, 1), said(40, 3, 85, 2)
    assert "points over few-shot on this database (" in one.claim and "McNemar p" in one.claim
    assert "points over few-shot on these 2 databases (" in two.claim and "McNemar" not in two.claim
    assert one.limits[0] == "Nothing follows for other databases from one."
    assert two.limits[0] == "Nothing follows for other databases from two."


def test_three_databases_show_how_little_follows_for_others():
    gain = gained(40, 3, 85, 3)
    found = conclude(gain, arm="fine-tuned", over="few-shot")
    assert "on these 3 databases" in found.claim
    assert f"the interval is {points(gain.alike.lo)} to {points(gain.alike.hi)}." in found.limits[0]
    assert "sign flip over databases p = 0.25, smallest possible 0.25" in found.claim


def test_several_seeds_give_both_spreads():
    gain = gained(40, 3, 85, 18, seeds=3)
    spreads = f"± {100 * gain.questions:.1f} points by the choice of questions, ± 0.0 by training luck (3 seeds"
    assert conclude(gain, arm="fine-tuned", over="few-shot").limits[-1] == f"{spreads})."
    two = conclude(gain, arm="new", over="old", trainings=2)
    assert two.limits[-1] == f"{spreads}; the other recipe's luck is unmeasured)."


def test_what_does_not_survive_the_number_of_comparisons_is_not_claimed():
    gain = gained(14, 3, 111, 18)
    assert direction(gain.headline) == "better"
    adjusted = holm([gain.headline.p, *[0.4] * 5])[0]
    found = conclude(gain, arm="faster", over="quickstart", trainings=2, compared=6, holm_p=adjusted)
    assert found.verdict == "not shown"
    assert found.claim.startswith("All comparisons considered, it is not shown that faster and quickstart differ: +8.6")
    assert found.limits[0] == (
        f"Alone it would pass for better; among 6 comparisons it does not (Holm-adjusted p = {adjusted:.2g})."
    )
    strong = conclude(gained(40, 3, 85, 18), arm="a", over="b", trainings=2, compared=6, holm_p=0.001)
    assert strong.verdict == "better" and "Holm-adjusted p = 0.001 for 6 comparisons" in strong.limits[0]
    with pytest.raises(ValueError, match="side by side"):
        conclude(gain, arm="a", over="b", compared=2)


def test_the_best_of_several_is_said_to_be_flattered():
    assert best_of(1, gained(14, 3, 111, 18), tuning=False) == ""
    # The difference has a standard error of 3.35 points; the best of six equal runs leads by 1.267 / sqrt(2) of it.
    said = best_of(6, gained(14, 3, 111, 18), tuning=False)
    assert (
        "leads their mean by about 3.0 points through luck. It was chosen on the test part, so that no question" in said
    )
    said = best_of(6, gained(14, 3, 111, 18), tuning=True)
    assert said.endswith("through luck. It was chosen on the tuning part; the test part says what it brings.")
    assert "not flattered" in chosen_elsewhere(6) and "not flattered" not in said


def test_an_evaluation_that_cannot_show_five_points_is_said_to_be_too_small():
    assert too_small([7] * 18) == (
        "126 questions about 18 databases cannot show a gain of 5 points: the least gain that they can be expected to "
        "detect is 11.8 points, where 20 % of the answers differ"
    )
    assert too_small([1]).startswith("1 question about 1 database cannot show a gain of 5 points")
    assert too_small([1000]) == too_small([50] * 20) == ""


def test_equality_is_claimed_only_within_the_margin():
    same = [True, False] * 64
    databases = [place // 8 for place in range(128)]
    equal = equality(equivalence(same, same, databases, 0.02), arm="merged", over="adapter")
    assert equal == "merged and adapter are equal within 2 points (90 % interval -1.8 to +1.8, p = 0.033)."
    other = equality(equivalence(same, same, databases, 0.015), arm="merged", over="adapter")
    assert other.startswith("It is not shown that merged and adapter are equal within 1.5 points (")


ABOUT = {f"q{place}": place // 8 for place in range(128)}  # question to its database


class TestForms:
    """Two forms of one model on the same questions."""

    def answered(self, *changed: int, text: str = "SELECT 1") -> dict[str, Answered]:
        """128 right answers but every other one, of which some are turned over and say another text."""
        return {
            name: Answered(text if place in changed else "SELECT 0", (place % 2 == 0) != (place in changed))
            for place, name in enumerate(ABOUT)
        }

    def test_texts_and_verdicts_that_changed_are_counted_and_said(self):
        found = compare_texts(self.answered(), self.answered(1, 2, 4), ABOUT, 0.05)
        assert (found.questions, found.texts, found.verdicts, found.won, found.lost) == (128, 3, 128, 1, 2)
        assert changed(found, arm="Q8_0", over="the adapter") == (
            "3 of 128 texts of Q8_0 differ from those of the adapter, 3 of 128 verdicts changed (1 won, 2 lost). "
            "Q8_0 and the adapter are equal within 5 points (90 % interval -3.7 to +2.1, p = 0.0084)."
        )

    def test_the_same_verdict_by_another_text_is_a_changed_text_alone(self):
        before = self.answered()
        after = before | {"q3": before["q3"]._replace(text="SELECT 2")}
        found = compare_texts(before, after, ABOUT, 0.05)
        assert (found.texts, found.won, found.lost) == (1, 0, 0)

    def test_a_question_without_a_verdict_counts_for_its_text_alone(self):
        before = self.answered() | {"q0": Answered("SELECT 0", None)}
        found = compare_texts(before, self.answered(), ABOUT, 0.05)
        assert (found.questions, found.verdicts, found.lost + found.won) == (128, 127, 0)
        none = {name: answer._replace(right=None) for name, answer in before.items()}
        found = compare_texts(none, self.answered(1), ABOUT, 0.05)
        assert found.equivalence is None and changed(found, arm="a", over="b").endswith("changed (0 won, 0 lost).")

    def test_other_questions_are_refused(self):
        with pytest.raises(ValueError, match="1 questions have an answer of one form alone"):
            compare_texts(self.answered(), self.answered() | {"more": Answered("", None)}, ABOUT, 0.05)


def test_agreement_is_said_with_its_prevalence():
    found = agreement([True] * 25 + [False] * 25, [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15)
    assert agreed(found, raters=("judge", "execution")) == (
        "Cohen's kappa 0.40 (95 % interval 0.15 to 0.65); yes: 50.0 % (judge) and 60.0 % (execution)."
    )
    assert agreed(agreement([True], [True]), raters=("a", "b")).startswith("Kappa is undefined")


def test_a_limit_that_is_not_zero_is_not_printed_as_zero():
    assert [points(share) for share in (0.0004, -0.00001, 0.0, -0.0, 0.352)] == [
        "+0.04",
        "-0.001",
        "+0.0",
        "+0.0",
        "+35.2",
    ]
    assert [probability(p) for p in (0.0, 0.00012, 0.057)] == ["p < 0.0001", "p = 0.00012", "p = 0.057"]


# The command


def power(capsys, *arguments):
    assert main(["power", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_power_says_the_least_gain(capsys):
    assert power(capsys, "--questions", "128", "--databases", "18", "--flips", "0.11") == [
        "128 questions about 18 databases; flips 11 %, spread of the gain between databases: none",
        "least gain on these databases: 8.2 points",
        "least gain on databases like these: 8.7 points",
    ]
    assert power(capsys, "--questions", "20", "--databases", "3")[-1].startswith("nothing is concluded about other")


def test_power_says_the_questions_that_a_gain_takes(capsys):
    assert power(capsys, "--gain", "0.03", "--databases", "1", "--flips", "0.11")[0].startswith(
        "a gain of 3 points on 1 database: 960 questions, for a conclusion about these databases only"
    )
    lines = power(capsys, "--gain", "0.05", "--databases", "8", "--between", "0.15")
    assert "no number of questions detects it" in lines[0] and lines[1].startswith("at least 73 databases")


def test_power_reads_the_selected_questions(tmp_path, monkeypatch, capsys):
    import pandas

    monkeypatch.chdir(tmp_path)
    assert main(["power"]) == 1
    assert "run `dvc repro select`, or give --questions and --databases" in capsys.readouterr().err
    (tmp_path / "data/selected").mkdir(parents=True)
    names = ["x", "x", "y", "y", "y", "z", "w"]
    schemas = [f"CREATE TABLE {name} (a INT)" for name in names]
    table = pandas.DataFrame({"id": list("abcdefg"), "db_id": names, "context": schemas})
    write_table("data/selected/eval.parquet", table)
    write_json("data/selection.json", {})
    assert power(capsys)[0].startswith("7 questions about 4 databases; flips 20 %")
    write_json("data/selection.json", {"tuning": {"ids": ["a", "b"]}})  # x, on which nothing is judged
    assert power(capsys)[0].startswith("5 questions about 3 databases; flips 20 %")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--questions", "3", "--databases", "9"], "3 questions cannot be about 9 databases"),
        (["--databases", "9"], "give both, or --gain"),
        (["--gain", "0.5"], "takes --flips of 0.5 or more"),
        (["--gain", "0.1", "--questions", "5"], "leave out --questions"),
        (["--questions", "0"], "not at least 1"),
        (["--flips", "20"], "are shares"),
        (["--gain", "nan"], "takes --flips"),
    ],
)
def test_power_refuses_in_one_line(arguments, problem, capsys):
    assert main(["power", *arguments]) == 1
    printed = capsys.readouterr()
    assert problem in printed.err and len(printed.err.splitlines()) == 1 and printed.out == ""
