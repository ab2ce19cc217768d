"""Files are whole or not there, keep every character, and a bad line is named."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from text2sql.base.errors import UserError
from text2sql.base.files import atomic_write, read_json, read_jsonl, write_json, write_jsonl
from text2sql.base.resume import file_key


def test_a_file_appears_only_when_its_block_ends_well(tmp_path):
    path = tmp_path / "deep" / "out.txt"
    with atomic_write(path) as file:
        file.write("a\n")
        assert not path.exists()
    assert path.read_bytes() == b"a\n"
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write("b\n")
        _ = 1 / 0
    assert path.read_bytes() == b"a\n"
    assert os.listdir(path.parent) == ["out.txt"]


def test_rows_that_fail_on_the_way_leave_the_old_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"id": "1"}])

    def rows():
        yield {"id": "2"}
        raise UserError("row 3 is bad")

    with pytest.raises(UserError, match="row 3"):
        write_jsonl(path, rows())
    assert path.read_text() == '{"id": "1"}\n'
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """The temporary file is a link to the device that is always full."""
    path = tmp_path / "rows.jsonl"
    (tmp_path / f".rows.jsonl.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(UserError) as error:
        write_jsonl(path, ({"id": str(number)} for number in range(10)))
    assert str(error.value) == f"{path}: no space left on the disk, or the quota is used up; free some and run again"
    assert os.listdir(tmp_path) == []


def test_a_file_size_limit_is_one_line_and_leaves_nothing(tmp_path):
    code = f"""
import resource
from text2sql.base.errors import reports_user_errors
from text2sql.base.files import write_jsonl
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
raise SystemExit(reports_user_errors(write_jsonl)({str(tmp_path / "rows.jsonl")!r}, ({{"id": n}} for n in range(999))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "no space left" in done.stderr
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "data").write_text("I am a file")
    with pytest.raises(UserError, match=r"data/rows\.jsonl: cannot be written"):
        write_jsonl(tmp_path / "data" / "rows.jsonl", [])
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="out: cannot be written"):
        write_json(tmp_path / "out", {})
    assert sorted(os.listdir(tmp_path)) == ["data", "out"]


def test_a_folder_that_takes_no_files_is_one_line():
    """/sys takes none from anyone, root neither."""
    with pytest.raises(
        UserError, match=r"^/sys/text2sql\.json: cannot be written \(.*\); check the folder and its perm"
    ):
        write_json("/sys/text2sql.json", {})


def test_every_string_comes_back_as_it_was(tmp_path):
    rows = [{"text": text} for text in ("\ud83d", "a\udcffb", "한글 😀", "\x00\x1f\u2028\u0085\r\n", "\\ud83d", '"')]
    path = tmp_path / "rows.jsonl"
    assert write_jsonl(path, rows) == len(rows)
    assert list(read_jsonl(path)) == rows
    assert path.read_bytes().count(b"\n") == len(rows)
    write_json(tmp_path / "one.json", rows)
    assert read_json(tmp_path / "one.json") == rows


def test_gzip_is_read_too_and_blank_lines_are_skipped(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress('{"a": "가"}\n\n{"a": 2}\n'.encode()))
    assert list(read_jsonl(path)) == [{"a": "가"}, {"a": 2}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1}\n{"a": \n', "line 2: not valid JSON (Expecting value); fix or remove the line"),
        (b'{"a": 1}\n\n[1]\n', "line 3: expected a JSON object, got list"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "cannot be read as UTF-8"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(content, said, tmp_path):
    for path, stored in (("rows.jsonl", content), ("rows.jsonl.gz", gzip.compress(content, mtime=0))):
        (tmp_path / path).write_bytes(stored)
        with pytest.raises(UserError) as error:
            list(read_jsonl(tmp_path / path))
        assert str(error.value).startswith(str(tmp_path / path)) and said in str(error.value)


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(b'{"a": 1}\n', mtime=0)[:-6], gzip.compress(b"{}", mtime=0)[:12] + b"x" * 20]
)
def test_a_damaged_gzip_file_is_named(content, tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"rows\.jsonl\.gz: cannot be read"):
        list(read_jsonl(path))


def test_a_missing_or_broken_json_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.jsonl: no such file"):
        list(read_jsonl(tmp_path / "a.jsonl"))
    with pytest.raises(UserError, match=r"a\.json: no such file; run the stage"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")


def test_the_key_of_a_folder_knows_names_and_contents(tmp_path):
    def key(**files: str) -> str:
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, content in files.items():
            (folder / name).write_text(content)
        return file_key(folder)

    keys = [key(a="1"), key(a="2"), key(b="1"), key(a="1", b="1")]
    assert len(set(keys)) == 4 and key(a="1") == keys[0]
    with pytest.raises(UserError, match="nothing: not there; run the stage"):
        file_key(Path(tmp_path / "nothing"))
