"""A text file beside a clip is its caption; one that cannot be meant as a caption is an error in one line."""

import os
from pathlib import Path

import pytest

from inspatio.captioning.captions import MAX_BYTES, Caption, fixed_caption, read_sidecar, sidecar_path
from inspatio.errors import ClipError, UsageError


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return tmp_path / "a walk.in.town.mp4"


def test_no_file_no_caption(video):
    assert read_sidecar(video) is None


def test_the_name_is_the_clips_with_another_ending(video):
    assert sidecar_path(video).name == "a walk.in.town.txt"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"A red house.\n", "A red house."),
        ("\ufeffÜber dem Fluß \r\n  eine Brücke".encode(), "Über dem Fluß eine Brücke"),
        ("一条街道\n".encode(), "一条街道"),
        (b"\t A <b>bold</b>   claim ", "A <b>bold</b> claim"),
        (b"a " * (MAX_BYTES // 2), ("a " * (MAX_BYTES // 2)).strip()),
    ],
)
def test_text_is_used_as_it_is_but_for_white_space(video, content, text):
    sidecar_path(video).write_bytes(content)
    assert read_sidecar(video) == Caption(text)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"\xff\xfe\x00a", "not UTF-8"),
        (b"PNG\x00\x01\x02", "control character U\\+0000"),
        (b"a" * (MAX_BYTES + 1), "larger than 64 KiB"),
    ],
)
def test_what_is_no_caption_is_one_line(video, content, fault):
    sidecar_path(video).write_bytes(content)
    with pytest.raises(ClipError, match=fault) as caught:
        read_sidecar(video)
    assert str(sidecar_path(video)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_a_dead_link_and_a_pipe_are_no_captions(video):
    path = sidecar_path(video)
    path.mkdir()
    with pytest.raises(ClipError, match="not a regular file"):
        read_sidecar(video)
    path.rmdir()
    path.symlink_to(video.with_name("gone.txt"))
    with pytest.raises(ClipError, match="dangling"):
        read_sidecar(video)
    path.unlink()
    os.mkfifo(path)  # opening it would block for ever
    with pytest.raises(ClipError, match="not a regular file"):
        read_sidecar(video)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(video):
    sidecar_path(video).write_text("A hill.")
    sidecar_path(video).chmod(0)
    with pytest.raises(ClipError, match="cannot be read"):
        read_sidecar(video)


def test_fixed_caption():
    assert fixed_caption("  A hill\nby the sea ") == Caption("A hill by the sea")
    for wrong in ("", " \n", "a\x00b"):
        with pytest.raises(UsageError, match="--caption"):
            fixed_caption(wrong)
