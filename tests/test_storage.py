"""Whole files or none, and one run to a folder."""

import errno
import subprocess
import sys

import pytest

from inspatio.errors import UserError
from inspatio.storage import atomic_file, atomic_folder, explain, folder_lock, part_path, remove_temporary, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(RuntimeError), atomic_file(path) as part:  # noqa: PT012
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path):
    path = tmp_path / "folder"
    for name in ("old", "new"):
        with atomic_folder(path) as part:
            (part / name).write_text(name)
            assert name == "old" or (path / "old").is_file()
    assert [file.name for file in path.iterdir()] == ["new"]
    with pytest.raises(RuntimeError), atomic_folder(path) as part:  # noqa: PT012
        (part / "newest").write_text("half")
        raise RuntimeError
    assert [file.name for file in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path):
    """Every hidden name that ends in ``.part`` used to be removed, at any depth, folders included."""
    program = (
        "import os, sys; from pathlib import Path; from inspatio.storage import atomic_file, atomic_folder\n"
        "folder = Path(sys.argv[1])\n"
        "with atomic_folder(folder / 'sub' / 'x') as x, atomic_file(folder / 'y') as y:\n"
        "    (x / 'file').write_text('1'); y.write_text('2'); os._exit(9)\n"
    )
    (tmp_path / ".keep").write_text("mine")
    (tmp_path / "sub").mkdir()
    for name in ("keep.part", ".thesis.docx.part", ".download.2024.part", "sub/.x.part"):
        (tmp_path / name).write_text("theirs")
    (tmp_path / ".backup.part").mkdir()
    before = sorted(tmp_path.rglob("*"))
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert len(list(tmp_path.rglob("*"))) == len(before) + 3
    remove_temporary(tmp_path)
    assert len(list(tmp_path.rglob("*"))) == len(before) + 2, "folders below are left alone"
    remove_temporary(tmp_path / "sub")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["n" * 255, "猫" * 83 + ".mp4"])
def test_the_longest_names_can_be_written(tmp_path, name):
    """The temporary name was 12 bytes longer than the file's, which ended the run for a clip of 80 Japanese letters."""
    write_json(tmp_path / name, 1)
    with atomic_folder(tmp_path / "folder" / name) as part:
        assert part.name != part_path(part.with_name(name[:-1])).name
    assert [path.name for path in tmp_path.glob("*") if path.is_file()] == [name]
    remove_temporary(tmp_path)
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_system_errors_become_one_line_that_names_the_path(tmp_path, code):
    message = str(explain(OSError(code, "why"), tmp_path / "x.mp4"))
    assert "x.mp4" in message
    assert "\n" not in message


def test_a_second_run_is_refused_while_the_first_lives_and_not_after(tmp_path):
    program = (
        "import sys; from pathlib import Path; from inspatio.storage import folder_lock\n"
        "with folder_lock(Path(sys.argv[1]), wait=False, notice=print):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with (
            pytest.raises(UserError, match=f"process {first.pid}"),
            folder_lock(tmp_path, wait=False, notice=pytest.fail),
        ):
            pass
        first.kill()
    with folder_lock(tmp_path, wait=False, notice=pytest.fail):
        assert (tmp_path / ".lock").is_file()
