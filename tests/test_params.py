"""params.yaml and the presets: every bad value is one line that names file and key, and a recipe arrives as written."""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

from text2sql.base.errors import UserError
from text2sql.base.params import Params, check, read_params, read_yaml
from text2sql.cli import main

PARAMS = ROOT / "params.yaml"
PRESETS = sorted((ROOT / "presets").glob("*.yaml"), key=lambda path: path.stem)
NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")


def leaves(values, under=""):
    """Every value below `values` with its dotted key."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from leaves(value, f"{under}.{key}" if under else key)
    else:
        yield under, values


def changed(key: str, value) -> dict:
    """The repository's params with one key set, or removed where the value is `...`."""
    values = read_yaml(PARAMS)
    *sections, last = key.split(".")
    place = values
    for section in sections:
        place = place[section]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return values


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_the_repositorys_own_params_are_valid():
    seed, validate = read_params("seed", "validate", path=PARAMS)
    assert seed == 7 and validate.has_rows is True


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("finetune.learning_rat", 0.1, "unknown key; remove it or fix its spelling"),
        ("sede", 3, "unknown key"),
        ("finetune.learning_rate", ..., "missing key; add it"),
        ("score", ..., "missing key; add it"),
        ("finetune.learning_rate", "2e-4", "valid number, got the text '2e-4'; fix the value"),
        ("finetune.lora.r", "16", "valid integer, got the text '16'"),
        ("finetune.lora.r", 16.5, "valid integer, got 16.5"),
        ("finetune.learning_rate", 0, "greater than 0, got 0"),
        ("finetune.learning_rate", 2, "less than or equal to 1, got 2"),
        ("finetune.weight_decay", float("inf"), "finite number, got inf"),
        ("finetune.lora.target_modules", 5, "got 5"),
        ("finetune.lora.init_lora_weights", "psisa", "got the text 'psisa'"),
        ("validate.has_rows", "yes", "valid boolean, got the text 'yes'"),
        ("select.holdout", 1.0, "less than 1, got 1.0"),
        ("select.languages", ["en", "french"], "got the text 'french'"),
        ("select", 3, "got 3"),
        ("ingest.columns", {"questoin": "q"}, "got the text 'questoin'"),
        ("resolve.sha256", "AB", "got the text 'AB'"),
        ("seed", -1, "greater than or equal to 0, got -1"),
        ("seed", True, "valid integer, got True"),
    ],
)
def test_a_bad_value_is_one_line_with_file_key_and_remedy(key, value, said):
    with pytest.raises(UserError) as error:
        check(changed(key, value), Path("params.yaml"))
    assert one_line(error).startswith(f"params.yaml, {key}") and said in one_line(error)


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("finetune.lora", "use_doar", True, "use_doar: no name of PEFT's LoraConfig"),
        ("finetune", "keep", "best", "keep: best and patience need eval_rows above 0"),
        ("finetune", "patience", 2, "keep: best and patience need eval_rows above 0"),
    ],
)
def test_keys_that_do_not_stand_together_are_one_line_with_their_section(section, key, value, said):
    with pytest.raises(UserError) as error:
        check(changed(f"{section}.{key}", value), Path("params.yaml"))
    assert one_line(error).startswith(f"params.yaml, {section}: {said}")


@pytest.mark.parametrize("name", ["nobody", "base"])
def test_an_arm_is_the_same_as_another_that_is_there(name):
    with pytest.raises(UserError) as error:
        check(changed("arms.base.same_as", name), Path("params.yaml"))
    assert "base.same_as names no other arm; there are fewshot, finetuned" in one_line(error)
    assert check(changed("arms.base.same_as", "finetuned")).arms["base"].same_as == "finetuned"


def test_other_names_of_pefts_configuration_may_be_added():
    assert check(changed("finetune.lora.exclude_modules", ["o_proj"])).finetune.lora.exclude_modules == ["o_proj"]


TRAINED = {"model": "models/finetuned", "shots": 0}
UNTRAINED = {"model": "models/base", "shots": 0}


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ({"a": UNTRAINED, "b": {"shots": 0}}, "arms.b.model: missing key; add it"),
        ({"a": UNTRAINED, "b": TRAINED | {"model": ""}}, "arms.b.model: String should have at least 1 character"),
        ({"a": UNTRAINED, "b": TRAINED | {"model": "gpt-5.5"}}, "arms.b.model: a model is a path in the project"),
        ({"a": UNTRAINED, "b": TRAINED | {"samples": 0}}, "arms.b.samples: Input should be greater than or equal to 1"),
        ({"a": UNTRAINED, "b": TRAINED | {"sample": 8}}, "arms.b.sample: unknown key"),
        ({"a": UNTRAINED, "gain": TRAINED}, "arms: gain is the name of a figure; take another for the arm"),
        ({"a": UNTRAINED}, "arms: a gain needs an untrained arm (model: models/base) and a trained one"),
        ({"a": TRAINED}, "arms: a gain needs an untrained arm (model: models/base) and a trained one"),
    ],
)
def test_arms_that_make_no_comparison_are_one_line(arms, said):
    with pytest.raises(UserError) as error:
        check(changed("arms", arms), Path("params.yaml"))
    assert one_line(error).startswith(f"params.yaml, {said}")


def test_an_arm_that_says_nothing_of_samples_answers_greedily():
    assert check(changed("arms", {"a": UNTRAINED, "b": TRAINED | {"samples": 8}})).arms["a"].samples == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("arms:\n  base: {model: models/base, shots: 0}\n  base: {model: models/base, shots: 3}\n", 'key "base"'),
        ("seed: [1", ", line 1: not valid YAML"),
        ("seed: 1\n\tingest: {}\n", ", line 2: not valid YAML"),
        ("seed: 1\nseed: 2\n", 'duplicate key "seed"'),
        ("", "the file: Input should be a valid dictionary"),
        ("- 1\n", "the file: Input should be a valid dictionary"),
        (b"seed: \xff\n", "not valid YAML"),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(text, said, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        read_params("seed", path=path)
    assert one_line(error).startswith(str(path)) and said in one_line(error)


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(UserError, match=r"params\.yaml: no such file; run from the project's folder"):
        read_params("seed", path=tmp_path / "params.yaml")


@pytest.mark.parametrize("path", [PARAMS, *PRESETS], ids=lambda path: path.stem)
def test_no_number_is_text_to_a_yaml_1_1_reader(path):
    """PyYAML, which notebooks and other tools read the file with, takes 2e-4 for text."""
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert values == read_yaml(path)
    assert [(key, value) for key, value in leaves(values) if isinstance(value, str) and NUMBER.fullmatch(value)] == []


# Presets


def preset(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """The command, in this process, which has everything loaded."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["preset", *arguments])
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with a copy of params.yaml and the presets, as the current one."""
    shutil.copy(PARAMS, tmp_path / "params.yaml")
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def edited(folder) -> Path:
    """The same after a user's own settings, some of which no preset names."""
    values = read_yaml(PARAMS)
    values["ingest"] |= {
        "columns": {"question": "ask", "answer": "sql"},
        "database": "inputs/shop.db",
        "dialect": "mysql",
    }
    values["finetune"]["lora"] |= {"exclude_modules": ["o_proj"], "use_dora": True}
    values["judge"]["prices"] = {"mine": {"input": 1.0, "output": 2.0}} | values["judge"]["prices"]
    values["judge"]["enabled"] = True
    check(values)
    (folder / "params.yaml").write_text(dumps_yaml(values), encoding="utf-8")
    return folder


def whole(*names: str) -> dict:
    """What the presets ask for, key by key: the defaults with each preset's own values in their place."""
    values = read_yaml(PARAMS)
    for name in names:
        put(values, read_yaml(ROOT / f"presets/{name}.yaml"))
    return values | {"preset": "+".join(names)}


def put(values: dict, own: dict) -> None:
    for key, value in own.items():
        if isinstance(value, dict) and value:
            put(values[key], value)
        else:
            values[key] = value


def apply(flags: str) -> None:
    """Has DVC apply flags as the shell hands them on after reading them once more."""
    words = shlex.split(flags)
    assert set(words[::2]) == {"-S"}
    apply_overrides("params.yaml", words[1::2])


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_uses_only_keys_that_exist_and_gives_valid_params(path):
    own = read_yaml(path)
    assert {key for key, _ in leaves(own)} <= {key for key, _ in leaves(read_yaml(PARAMS))}
    assert isinstance(check(whole(path.stem), path), Params)
    assert own["preset"] == path.stem
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_the_repositorys_params_are_the_defaults_key_by_key_in_the_same_order():
    defaults = read_yaml(ROOT / "presets/quickstart.yaml")
    assert list(leaves(read_yaml(PARAMS))) == list(leaves(defaults))


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_written_preset_is_a_whole_recipe_and_keeps_the_comments(path, folder):
    done = preset(path.stem, "--write", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert read_yaml(Path("params.yaml")) == whole(path.stem)
    comments = [
        [line.partition("#")[2] for line in file.read_text(encoding="utf-8").splitlines() if "#" in line]
        for file in (PARAMS, folder / "params.yaml")
    ]
    assert comments[0] == comments[1]
    text = Path("params.yaml").read_text(encoding="utf-8")
    assert dumps_yaml(parse_yaml_for_update(text, "params.yaml")) == text  # the form in which DVC writes it


@pytest.mark.parametrize("name", ["quickstart", "file", "phi2-gretel"])
@pytest.mark.parametrize("way", ["--write", "flags"])
def test_nothing_of_the_former_params_survives_a_preset(name, way, edited):
    if way == "flags":
        apply(preset(name, cwd=edited).stdout)
    else:
        preset(name, "--write", cwd=edited)
    assert read_yaml(Path("params.yaml")) == whole(name)


def test_writing_the_preset_of_the_fresh_repository_changes_nothing(folder):
    preset("quickstart", "--write", cwd=folder)
    assert (folder / "params.yaml").read_bytes() == PARAMS.read_bytes()
    assert preset("quickstart", cwd=folder).stdout == "-S preset=quickstart\n"


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_the_flags_of_a_preset_are_what_dvc_makes_of_them(path, folder):
    """Read and applied by the code that `dvc exp run -S` runs."""
    done = preset(path.stem, cwd=folder)
    assert done.returncode == 0
    # "basic SQL" falls apart where the shell does not read the flags once more, and the note says so.
    assert ("eval" in done.stderr) == (path.stem == "phi2-gretel") == ("'" in done.stdout)
    apply(done.stdout)
    assert read_yaml(Path("params.yaml")) == whole(path.stem)


def test_the_flags_reach_dvc_through_a_real_shell(folder):
    """Plainly where nothing is quoted, by `eval` where something is: the help's own command lines."""
    show = f"{sys.executable} -c 'import sys, json; print(json.dumps(sys.argv[1:]))'"
    call = f"{shlex.quote(sys.executable)} -m text2sql preset"
    for line, name in ((f"{show} $({call} smoke)", "smoke"), (f'eval "{show} $({call} phi2-gretel)"', "phi2-gretel")):
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        shutil.copy(PARAMS, "params.yaml")
        words = json.loads(
            subprocess.run(["bash", "-c", line], cwd=folder, env=env, capture_output=True, check=True).stdout
        )
        apply_overrides("params.yaml", words[1::2])
        assert read_yaml(Path("params.yaml")) == whole(name)


@pytest.mark.parametrize(
    "value",
    [
        "inputs/질문.jsonl", "a b", "it's", 'say "so"', "back\\slash", "", " ", "null", "true", "12", "1e5", "a,b",
        "[x]", "{x}", "x=y", "~home", "$HOME", "`date`", "a;b", "*", "#no", "C:\\", "two\nlines", "740ab236e64503fba51",
    ],
)  # fmt: skip
def test_any_text_survives_the_shell_and_dvcs_grammar(value, folder):
    values = {"ingest": {"path": value, "columns": {"question": value or "q"}}, "select": {"domains": [value, "plain"]}}
    write_preset("odd", values)
    apply(preset("odd", cwd=folder).stdout)
    found = read_yaml(Path("params.yaml"))
    assert found["ingest"]["path"] == value and found["select"]["domains"] == [value, "plain"]
    assert found["ingest"]["columns"] == {"question": value or "q"}


def write_preset(name: str, values: dict) -> None:
    text = dumps_yaml(values | {"preset": name})
    Path("presets", f"{name}.yaml").write_text(f"# {name}\n{text}", encoding="utf-8")


def test_presets_add_up_and_the_later_one_wins(folder):
    preset("file", "qwen2.5-coder-1.5b", "--write", cwd=folder)
    found = read_yaml(Path("params.yaml"))
    assert found == whole("file", "qwen2.5-coder-1.5b")
    assert (found["ingest"]["source"], found["resolve"]["source"]) == ("file", "hub")
    assert found["preset"] == "file+qwen2.5-coder-1.5b"


def test_a_small_number_survives_dvc_and_write(folder):
    """DVC writes 1.0e-5 as 1e-05, which PyYAML would read as text."""
    apply_overrides("params.yaml", ["finetune.learning_rate=1.0e-5"])
    (config,) = read_params("finetune")
    assert config.learning_rate == 1e-5

    Path("presets/small.yaml").write_text("# x\nfinetune:\n  learning_rate: 4.0e-5\n  weight_decay: 3.0e-7\n")
    assert preset("small", "--write", cwd=folder).stderr == ""
    written = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))["finetune"]
    assert (written["learning_rate"], written["weight_decay"]) == (4e-5, 3e-7)


def test_without_a_name_the_presets_are_listed_with_their_first_line(folder):
    listed = preset(cwd=folder).stdout.splitlines()
    assert [line.split()[0] for line in listed] == [path.stem for path in PRESETS]
    assert "quickstart         The embedded model on generated data" in "\n".join(listed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("finetune: {lerning_rate: 0.1}", "presets/bad.yaml, finetune.lerning_rate: unknown key"),
        ("finetune: {learning_rate: 7}", "finetune.learning_rate: Input should be less than or equal to 1, got 7"),
        ("finetune: [", "line 2: not valid YAML"),
        ("judge: {prices: {gpt-9.9: {input: 1.0, output: 2.0}}}", "judge.prices.gpt-9.9: a key that holds other"),
        ("ingest: {path: '${HOME}/a'}", "ingest.path: a value that holds"),
        ("", "holds no keys"),
    ],
)
def test_a_bad_preset_is_one_line_and_nothing_is_written(text, said, folder):
    Path("presets/bad.yaml").write_text(f"# bad\n{text}")
    done = preset("bad", *["--write"] * ("that holds" not in said), cwd=folder)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and said in done.stderr
    assert (folder / "params.yaml").read_bytes() == PARAMS.read_bytes()


def test_a_preset_that_does_not_exist_names_those_that_do(folder):
    done = preset("qiuckstart", "--write", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    there = ", ".join(path.stem for path in PRESETS)
    assert done.stderr == f"error: no preset qiuckstart; there are {there}\n"
    assert (folder / "params.yaml").read_bytes() == PARAMS.read_bytes()


def test_a_preset_outside_the_project_says_where_to_run(tmp_path):
    done = preset("smoke", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: presets: no presets there; run from the project's folder\n"
