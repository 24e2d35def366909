"""Files are written atomically."""

from __future__ import annotations

from pathlib import Path

import pytest

from steadygan.config import load
from steadygan.errors import UserError
from steadygan.files import parse_yaml, sha256, whole_directory, write_whole


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_whole(file, lambda path: path.write_text("old"))

    def fail(path: Path) -> None:
        path.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"a\.txt: cannot be written: No space left on device"):
        write_whole(file, fail)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_missing_folder_is_an_error_for_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written: No such file"):
        write_whole(tmp_path / "nowhere" / "a.txt", lambda path: path.write_text(""))


def test_a_directory_appears_with_everything_in_it(tmp_path: Path) -> None:
    with whole_directory(tmp_path / "made") as temporary:
        (temporary / "a").write_text("1")
        assert not (tmp_path / "made").exists()
    assert (tmp_path / "made" / "a").read_text() == "1"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_directory_replaces_the_one_before_or_leaves_it(tmp_path: Path) -> None:
    for text in ("1", "2"):
        with whole_directory(tmp_path / "made") as temporary:
            (temporary / text).write_text(text)
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["2"]

    def fail() -> None:
        with whole_directory(tmp_path / "made") as temporary:
            (temporary / "3").write_text("3")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["2"]
    assert len(list(tmp_path.iterdir())) == 1


def test_the_digest_is_sha_256(tmp_path: Path) -> None:
    """FIPS 180-2, appendix B.1."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "brackets nested"),
        ("a: " + "x" * (1 << 20), "over 1 MiB"),
        ("&a [*a]\n", "YAML|aliases"),
        ("a: &x {b: *x}\n", "aliases"),
        (
            "a: &a [x, x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
            ),
            "aliases",
        ),
        ("a: !!python/object/apply:os.system [true]\n", "not valid YAML"),
        ("a: [1\n", r"not valid YAML: line 2, column 1: .*; correct it$"),
    ],
    ids=["deep", "long", "self", "circle", "laughs", "tag", "open"],
)
def test_yaml_that_is_no_configuration_is_refused_in_a_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"mine.yaml: .*({message})") as caught:
        parse_yaml(text, "mine.yaml")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("train: {steps: 5}\ndata: {}\ntrain: {seed: 1}\n", "train is given twice, in lines 1 and 3"),
        ("train:\n  steps: 5\n  seed: 1\n  steps: 6\n", r"train\.steps is given twice, in lines 2 and 4"),
        ("train: {steps: 5, 'steps': 6}\n", r"train\.steps is given twice, in line 1"),
        ("a: [{b: {c: 1, c: 1}}]\n", r"a\.b\.c is given twice"),
    ],
)
def test_a_key_given_twice_is_refused_with_its_lines(text: str, named: str) -> None:
    with pytest.raises(UserError, match=f"mine.yaml: {named}.*: keep one of them"):
        parse_yaml(text, "mine.yaml")


def test_a_key_of_two_tables_is_not_given_twice() -> None:
    text = "x: &x {a: 1, b: 2}\ny: {<<: *x, a: 3}\nz: {a: 4}\n"
    assert parse_yaml(text, "mine.yaml") == {"x": {"a": 1, "b": 2}, "y": {"a": 3, "b": 2}, "z": {"a": 4}}


def test_yaml_with_an_alias_is_read() -> None:
    assert parse_yaml("a: &x {b: 1}\nc: *x\n", "mine.yaml") == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize("text", ["", "null\n", "{}\n", "# all of it is a comment\n"])
def test_a_file_that_sets_nothing_is_no_experiment(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml: sets nothing; is the file damaged\?.*extends: NAME"):
        load(tmp_path / "mine.yaml")
