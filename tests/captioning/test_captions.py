"""Degenerate answers are flagged, good ones are not; a text file beside a clip is its caption, or an error."""

import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspatio.captioning.captions import (
    FLAG_MEANINGS,
    MAX_BYTES,
    Caption,
    fixed_caption,
    judge,
    read_sidecar,
    repeats_itself,
    sidecar_path,
)
from inspatio.errors import ClipError, UsageError

PROSE = (
    "The image shows a man in a white apron standing behind a wooden table in a bright kitchen. On the table there is "
    "a coffee pot, a martini glass and a bowl of fruit. The man is pouring a clear drink from a silver shaker into the "
    "glass with his right hand, while his left hand rests on the table. Behind him there is a window with white "
    "curtains, and on the window sill there are two small plants. To the left of the man stands a tall lamp with a "
    "yellow shade, and to the right of the window hangs a clock. The light that falls through the window is soft, and "
    "the whole scene looks calm and tidy. The floor is made of dark wood, and in the corner of the room there is a "
    "red chair with a blue cushion on it."
)


def test_prose_has_no_flags_at_any_length():
    words = PROSE.split()
    for count in range(1, len(words) + 1):
        assert judge(" ".join(words[:count])).flags == ()


@pytest.mark.parametrize("answer", ["", "  ", "\n\t"])
def test_nothing_is_empty(answer):
    assert judge(answer) == Caption("", ("empty",))


@pytest.mark.parametrize("answer", ["<loc_12><loc_999>", " <s></s> ", "<MORE_DETAILED_CAPTION>", "<poly><and></poly>"])
def test_tokens_alone_are_no_text(answer):
    assert judge(answer) == Caption("", ("task_tokens",))


def test_tokens_between_words_are_taken_out_and_nothing_is_flagged():
    assert judge("A man<loc_3><loc_77> with a \n red hat. ") == Caption("A man with a red hat.")


@pytest.mark.parametrize(
    "answer",
    [
        "the the the the the the",
        "a man and a man and a man and a man",
        "!" * 30,
        "table snow " * 40,
        PROSE + " and so on" * 200,
    ],
)
def test_going_round_in_circles_is_flagged(answer):
    assert judge(answer).flags == ("repetition",)


def test_a_decoder_kept_from_repeating_three_tokens_is_still_caught():
    """Every three words in a row are new, but only five words are ever used."""
    random = Random(0)
    words, seen = ["red", "sun"], set()
    while len(words) < 80:
        options = [word for word in ("red", "sun", "hill", "cup", "dog") if (*words[-2:], word) not in seen]
        words.append(random.choice(options))
        seen.add(tuple(words[-3:]))
    assert repeats_itself(" ".join(words))


def test_flags_add_up():
    assert judge("table snow " * 40, cut=True).flags == ("repetition", "cut")
    assert judge("", cut=True).flags == ("empty", "cut")


@settings(max_examples=40)
@given(st.text(max_size=60), st.booleans())
def test_any_answer_becomes_one_clean_line(answer, cut):
    caption = judge(answer, cut=cut)
    assert caption.text == " ".join(caption.text.split())
    assert set(caption.flags) <= set(FLAG_MEANINGS)
    assert bool(caption.text) == (not {"empty", "task_tokens"} & set(caption.flags))
    assert ("cut" in caption.flags) == cut


@settings(max_examples=30)
@given(st.lists(st.text("abcdefg", min_size=1, max_size=4), min_size=6, max_size=40, unique=True))
def test_a_text_of_different_words_never_repeats_itself(words):
    assert not repeats_itself(" ".join(words))
    assert repeats_itself(" ".join(words * 3))


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
