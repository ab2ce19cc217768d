"""Git's names and objects, in real repositories."""

import subprocess
from pathlib import Path

import pytest

from text2sql.base.errors import UserError
from text2sql.cli import main
from text2sql.experiments.git import git, read_objects, resolve, tree


@pytest.fixture
def commits(tmp_path, monkeypatch) -> list[str]:
    """Two commits on `main`, whose project is a folder of the repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@localhost")
    subprocess.run(["git", "init", "-q", "-b", "main"], check=True)
    made = []
    for text in ("one", "two"):
        Path("inner/a b").mkdir(parents=True, exist_ok=True)
        Path("inner/a b/질문.txt").write_text(text)
        Path("outer.txt").write_text(text)
        git("add", "-A")
        git("commit", "-q", "-m", text)
        made.append(git("rev-parse", "HEAD").strip())
    return made


def experiment(commits: list[str], name: str) -> None:
    """The first commit as an experiment that started from the second."""
    git("update-ref", f"refs/exps/{commits[1][:2]}/{commits[1][2:]}/{name}", commits[0])


def test_a_name_is_a_branch_a_tag_an_experiment_or_any_revision(commits):
    git("tag", "-a", "-m", "words", "v1", commits[0])
    experiment(commits, "slower")
    for name, place in (("main", 1), ("v1", 0), ("slower", 0), ("HEAD~1", 0), ("refs/heads/main", 1), (commits[0], 0)):
        assert resolve(name)[1] == commits[place]
    assert resolve("main")[0] == "main" and resolve(commits[0])[0] == commits[0][:7]


@pytest.mark.parametrize("make", ["tag", "branch of a remote", "experiment"])
def test_a_branch_that_shares_its_name_is_not_guessed_at(commits, make):
    git("branch", "base", commits[1])
    assert resolve("base")[1] == commits[1]
    if make == "tag":
        git("tag", "base", commits[0])
        other = "refs/tags/base"
    elif make == "experiment":
        experiment(commits, "base")
        other = commits[0][:7]
    else:
        git("update-ref", "refs/remotes/base", commits[0])
        other = "refs/remotes/base"
    with pytest.raises(UserError, match="base: several commits have this name") as error:
        resolve("base")
    assert other in str(error.value) and "refs/heads/base" in str(error.value)
    for name in ("refs/heads/base", commits[1]):
        assert resolve(name)[1] == commits[1]


def test_a_tag_and_a_branch_of_one_commit_are_one(commits):
    git("branch", "base", commits[0])
    git("tag", "base", commits[0])
    assert resolve("base") == ("base", commits[0])


@pytest.mark.parametrize("name", ["nowhere", "", "--all", "main:outer.txt"])
def test_what_is_no_commit_is_refused_in_one_line(commits, name):
    with pytest.raises(UserError, match="no experiment and no git revision"):
        resolve(name)


def test_files_are_those_from_the_current_folder_down(commits, monkeypatch):
    monkeypatch.chdir("inner")
    Path("link").symlink_to("a b")
    git("add", "-A")
    git("commit", "-q", "-m", "link")
    names = tree("HEAD")
    assert list(names) == ["a b/질문.txt"]
    assert read_objects([names["a b/질문.txt"], f"{commits[0]}:./a b/질문.txt", "HEAD:./none"]) == [
        b"two",
        b"one",
        None,
    ]


def test_without_a_repository_it_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert main(["experiments"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: no git repository") and said.count("\n") == 1
