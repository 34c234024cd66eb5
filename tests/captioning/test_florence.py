"""Florence-2 with tiny random weights: what its answers may and may not depend on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import florence
from transformers import Florence2ForConditionalGeneration

from inspatio.captioning.florence import INSTRUCTION, Florence2Captioner, describe
from inspatio.errors import UsageError, UserError
from inspatio.models.florence2.checkpoint import FlorenceFolder, ImageFormat

DECODER = torch.tensor([[2, 0, 300, 310, 320]])


def logits(captioner: Florence2Captioner, image: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return captioner.model(**captioner.encode([image]), decoder_input_ids=DECODER).logits


def test_one_network_in_both_layouts(captioners, images):
    """The law of the original's adapter: the same logits for every token that both have, and the same captions."""
    rows = florence.base_rows()
    for image in images:
        of = {layout: logits(captioner, image)[..., :rows] for layout, captioner in captioners.items()}
        torch.testing.assert_close(of["original"], of["converted"], atol=1e-4, rtol=0)
    assert captioners["original"].caption(images) == captioners["converted"].caption(images)


def test_the_strict_loader_and_transformers_own_agree(folders, captioners, images):
    native = Florence2ForConditionalGeneration.from_pretrained(folders["converted"], dtype=torch.float32).eval()
    captioner = captioners["converted"]
    for image in images[:2]:
        with torch.inference_mode():
            expected = native(**captioner.encode([image]), decoder_input_ids=DECODER).logits
        assert torch.equal(logits(captioner, image), expected)


def test_captions_depend_on_the_image_and_are_sound(captioners, images):
    captions = captioners["converted"].caption(images)
    assert len({caption.text for caption in captions}) >= 4
    for caption in captions:
        assert caption.flags == ()
        assert set(caption.text.split()) <= set(florence.WORDS)


@pytest.mark.parametrize("batch_size", [2, 3, 20])
def test_batched_equals_one_by_one(folders, captioners, images, batch_size):
    captioner = Florence2Captioner.load(folders["original"], batch_size=batch_size)
    alone = [captioners["original"].caption([image])[0] for image in images]
    assert captioner.caption(images) == alone


def short_of_memory(captioner: Florence2Captioner, images: int, error: type[Exception]) -> list[int]:
    """A network on a device that cannot hold more images than these; returns the list of what it was asked for."""
    asked: list[int] = []

    def refuse(module: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        asked.append(len(given[0]))
        if asked[-1] > images:
            raise error(f"CUDA out of memory with {asked[-1]} images")

    captioner.model.model.vision_tower.register_forward_pre_hook(refuse)
    return asked


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_out_of_memory_halves_the_batch_and_goes_on(folders, images, error, caplog):
    plain = Florence2Captioner.load(folders["converted"], max_new_tokens=4).caption(images)
    captioner = Florence2Captioner.load(folders["converted"], batch_size=6, max_new_tokens=4)
    asked = short_of_memory(captioner, 2, error)
    assert captioner.caption(images) == plain
    assert asked == [6, 3, 1, 1, 1, 1, 1, 1, 1]
    assert "6 images at a time; continuing with 3" in caplog.text
    asked.clear()
    captioner.caption(images[:3])
    assert asked == [1, 1, 1]  # once is enough to know


def test_out_of_memory_with_one_image(folders, images):
    captioner = Florence2Captioner.load(folders["converted"])
    short_of_memory(captioner, 0, torch.OutOfMemoryError)
    with pytest.raises(UserError, match=r"out of memory with one image.*Free memory on cpu"):
        captioner.caption(images)


def test_other_errors_are_not_taken_for_memory(folders, images):
    captioner = Florence2Captioner.load(folders["converted"])

    def broken(module: torch.nn.Module, given: object) -> None:
        raise RuntimeError("shapes do not match")

    captioner.model.model.vision_tower.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        captioner.caption(images)


def test_deterministic_and_nothing_is_kept_between_calls(captioners, images):
    captioner = captioners["converted"]
    first = captioner.caption(images)
    captioner.caption(images[::-1])
    assert captioner.caption(images) == first
    assert captioner.caption(images[::-1]) == first[::-1]
    assert captioner.caption([]) == []


def test_the_global_random_state_is_neither_used_nor_touched(captioners, images):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = captioners["converted"].caption(images[:1])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert captioners["converted"].caption(images[:1]) == first


def test_greedy_is_the_most_likely_token_of_the_whole_network_each_time(captioners, images):
    """Without a cache and without transformers' generate: the decoder asked anew for every token."""
    captioner, image = captioners["converted"], images[0]
    inputs = captioner.encode([image])
    answer = [2, 0]
    while answer[-1] != 2 or len(answer) == 1:
        with torch.no_grad():
            scores = captioner.model(**inputs, decoder_input_ids=torch.tensor([answer])).logits[0, -1].clone()
        scores[captioner.folder.image_token :] = -torch.inf
        for start in range(len(answer) - 2):
            if answer[start : start + 2] == answer[-2:]:
                scores[answer[start + 2]] = -torch.inf  # no three tokens twice
        answer.append(int(scores.argmax()))
        assert len(answer) < 100
    expected = captioner.folder.tokenizer.decode(answer).strip()
    assert captioner.caption([image])[0].text == expected


def test_stopped_at_the_limit_is_flagged(folders, images):
    captioner = Florence2Captioner.load(folders["converted"], max_new_tokens=6)
    for caption, whole in zip(
        captioner.caption(images), Florence2Captioner.load(folders["converted"]).caption(images), strict=True
    ):
        assert caption.flags[-1] == "cut"
        assert whole.text.startswith(caption.text)


@pytest.mark.parametrize(
    ("answer", "flags"),
    [
        ([2, 0, 2], ("empty",)),
        ([2, 0, 2, 1, 1, 1], ("empty",)),
        ([2, 0, 0, 0, 0], ("empty", "cut")),
        ([2, 0, "<loc_3>", "<loc_999>", 2], ("task_tokens",)),
        ([2, 0, *["Ġred", "Ġsun"] * 9, 2], ("repetition",)),
        ([2, 0, "Ġred", "Ġsun", 2, 1], ()),
    ],
)
def test_degenerate_answers_of_the_decoder(captioners, answer, flags):
    captioner = captioners["converted"]
    tokens = [token if isinstance(token, int) else captioner.folder.token(token) for token in answer]
    assert captioner.read_answer(tokens).flags == flags


def test_a_network_gone_wrong_is_flagged(folders, images):
    """Not-a-number everywhere, as half precision can overflow to: no exception, no text, a flag."""
    captioner = Florence2Captioner.load(folders["converted"], max_new_tokens=20)
    captioner.model.lm_head.weight.data = torch.full_like(captioner.model.lm_head.weight, torch.nan)
    assert all(caption.flags for caption in captioner.caption(images[:2]))


def test_half_precision_says_nearly_the_same(folders, captioners, images):
    half = Florence2Captioner.load(folders["converted"], dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    difference = (logits(half, images[0]).float() - logits(captioners["converted"], images[0])).abs().max()
    assert 0 < difference < 1
    assert half.caption(images[:1])[0].text


def test_the_token_embedding_is_one_matrix_in_memory(captioners):
    for captioner in captioners.values():
        language = captioner.model.model.language_model
        matrices = (language.encoder.embed_tokens, language.decoder.embed_tokens, captioner.model.lm_head)
        assert {matrix.weight.data_ptr() for matrix in matrices} == {language.shared.weight.data_ptr()}


def test_prompt(captioners):
    """577 image tokens at 768 pixels; here 1 + 2 x 2. Then the instruction as a sentence."""
    captioner = captioners["original"]
    prompt = captioner.encode([np.zeros((9, 9, 3), np.uint8)])["input_ids"][0].tolist()
    image, text = prompt[:5], prompt[5:]
    assert image == [captioner.folder.image_token] * 5
    assert (text[0], text[-1]) == (0, 2)
    assert captioner.folder.tokenizer.decode(text) == INSTRUCTION


def test_fingerprint_names_weights_and_options(folders, captioners, tmp_path):
    original = describe(folders["original"])
    json.dumps(original)
    assert describe(folders["original"], max_new_tokens=5) != original
    florence.write(tmp_path / "other", seed=1, layout="original")
    assert describe(tmp_path / "other") != original


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"max_new_tokens": 0}, {"max_new_tokens": 1025}])
def test_sizes_out_of_range(folders, options):
    with pytest.raises(UsageError, match="expected"):
        Florence2Captioner.load(folders["converted"], **options)


def test_published_numbers(tmp_path: Path):
    florence.write_settings(tmp_path, "original", florence.LARGE)
    folder = FlorenceFolder.read(tmp_path)
    assert folder.image_tokens == 577
    assert (folder.token("<loc_0>"), folder.token("<loc_999>"), folder.token("<and>")) == (50269, 51268, 51288)
    assert (folder.image_token, folder.text.vocab_size) == (51289, 51328)


def test_images_become_squares_whatever_their_shape():
    """A ramp stays a ramp, constants stay constant, and an image of the right size is only normalised."""
    square = ImageFormat(32, 32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (8, 256, 3))
    row = square.prepare([ramp])[0, 0, 5]
    torch.testing.assert_close(row, (torch.arange(32) * 8 + 3.5) / 127.5 - 1, atol=0.01, rtol=0)
    for value in (0, 77, 255):
        flat = square.prepare([np.full((13, 57, 3), value, np.uint8)])
        torch.testing.assert_close(flat, torch.full((1, 3, 32, 32), value / 127.5 - 1))
    exact = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    torch.testing.assert_close(square.prepare([exact])[0].permute(1, 2, 0), torch.tensor(exact) / 127.5 - 1)


def test_image_steps_are_those_of_transformers(folders, images):
    """Against the published preprocessor, where Pillow is there: at most two of 255 levels, in few pixels.

    In noise that grows one way and shrinks the other, the order of the two passes shows: that one is left out.
    """
    pil_image = pytest.importorskip("PIL.Image")
    from transformers import CLIPImageProcessorPil

    native = CLIPImageProcessorPil.from_pretrained(folders["converted"])
    ours = ImageFormat(64, 64, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    for image in [image for image in images if (image.shape[0] - 64) * (image.shape[1] - 64) >= 0]:
        expected = native(images=pil_image.fromarray(image), return_tensors="pt")["pixel_values"]
        difference = (ours.prepare([image]) - expected).abs() * 255 * 0.229
        assert difference.max() < 2.1
        assert (difference > 0.5).float().mean() < 0.02
