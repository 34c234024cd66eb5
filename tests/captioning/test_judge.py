"""Degenerate answers are flagged, good ones are not."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspatio.captioning.captions import FLAG_MEANINGS, Caption, judge, repeats_itself

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
