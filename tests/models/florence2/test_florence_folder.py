"""Model folders as they can be: both layouts, files missing, damaged, swapped, of another model, or hostile."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.paths import ROOT
from tiny import florence

from inspatio.captioning.florence import Florence2Captioner
from inspatio.errors import MissingWeightsError
from inspatio.models.florence2.checkpoint import FlorenceFolder

LAYOUTS = ("converted", "original")
CopyOf = Callable[[str], Path]


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def weights(folder: Path) -> Path:
    return next(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))


def fault(folder: Path) -> str:
    """The one line that loading a broken folder ends with."""
    with pytest.raises(MissingWeightsError) as caught:
        Florence2Captioner.load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_the_layout_is_told_from_the_config(folders):
    assert not FlorenceFolder.read(folders["converted"]).is_original
    assert FlorenceFolder.read(folders["original"]).is_original


def test_no_folder(tmp_path):
    message = fault(tmp_path / "Florence-2-large")
    assert "no such folder" in message
    assert "scripts/download.sh Florence-2-large" in message
    assert "<clip>.txt" in message


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "preprocessor_config.json", "weights"])
def test_a_missing_file_is_named(copy_of: CopyOf, layout, name):
    folder = copy_of(layout)
    path = weights(folder) if name == "weights" else folder / name
    path.unlink()
    message = fault(folder)
    assert "no weights" in message if name == "weights" else name.removeprefix("pre") in message


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"version https://git-lfs.github.com/spec/v1\n", b"\xff\x00"])
def test_a_damaged_file_is_named(copy_of: CopyOf, name, content):
    folder = copy_of("original")
    (folder / name).write_bytes(content)
    assert name in fault(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_weights_cut_short(copy_of: CopyOf, layout, share):
    folder = copy_of(layout)
    path = weights(folder)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    message = fault(folder)
    assert path.name in message
    assert "cut short" in message or "not a torch file" in message


def test_another_family(copy_of: CopyOf):
    folder = copy_of("converted")
    edit(folder / "config.json", lambda config: config.update(model_type="blip-2"))
    assert "'blip-2', expected 'florence2'" in fault(folder)


def test_weights_of_another_family(copy_of: CopyOf):
    for layout in LAYOUTS:
        folder = copy_of(layout)
        weights(folder).unlink()
        save_file({"transformer.wte.weight": torch.zeros(4, 4)}, folder / "model.safetensors")
        message = fault(folder)
        assert "missing" in message
        assert "1 unexpected (transformer.wte.weight)" in message


def test_every_missing_unexpected_and_misshapen_key_is_counted(copy_of: CopyOf):
    folder = copy_of("original")
    path = weights(folder)
    state = torch.load(path, weights_only=True)
    del state["image_pos_embed.row_embeddings.weight"]
    state["vision_tower.head.weight"] = torch.zeros(3)
    state["lm_head.weight"] = torch.zeros(3)  # a name of the converted layout
    state["image_projection"] = state["image_projection"][:, :5]
    torch.save(state, path)
    message = fault(folder)
    assert "1 missing (model.multi_modal_projector.image_position_embed.row_embeddings.weight)" in message
    assert "2 unexpected (vision_tower.head.weight, lm_head.weight)" in message
    assert "1 of another shape (image_projection is 5x32, expected 64x32)" in message


def test_a_bias_of_the_logits_that_is_not_zero_is_refused(copy_of: CopyOf):
    folder = copy_of("original")
    path = weights(folder)
    state = torch.load(path, weights_only=True)
    state["language_model.final_logits_bias"][0, 7] = 0.5
    torch.save(state, path)
    assert "final_logits_bias is not zero" in fault(folder)


def test_embeddings_that_are_not_one_matrix_are_refused(copy_of: CopyOf):
    folder = copy_of("original")
    path = weights(folder)
    state = torch.load(path, weights_only=True)
    state["language_model.lm_head.weight"] = state["language_model.lm_head.weight"] + 1
    torch.save(state, path)
    assert "language_model.lm_head.weight and language_model.model.shared.weight differ" in fault(folder)


@pytest.mark.parametrize("kept", ["shared", "encoder.embed_tokens", "decoder.embed_tokens"])
def test_the_embedding_may_be_stored_under_any_of_its_names(copy_of: CopyOf, captioners, images, kept):
    folder = copy_of("converted")
    path = weights(folder)
    state = load_file(path)
    embedding = state.pop("model.language_model.shared.weight")
    save_file(state | {f"model.language_model.{kept}.weight": embedding}, path)
    assert Florence2Captioner.load(folder).caption(images[:1]) == captioners["converted"].caption(images[:1])


def test_the_original_may_come_as_safetensors(copy_of: CopyOf, captioners, images):
    """As fine-tunes of it are saved: names shared by one matrix are stored once, and the zero bias may be gone."""
    folder = copy_of("original")
    path = weights(folder)
    state = torch.load(path, weights_only=True)
    for name in ("encoder.embed_tokens", "decoder.embed_tokens"):
        del state[f"language_model.model.{name}.weight"]
    del state["language_model.lm_head.weight"], state["language_model.final_logits_bias"]
    path.unlink()
    save_file(state, folder / "model.safetensors")
    assert Florence2Captioner.load(folder).caption(images) == captioners["original"].caption(images)


def test_a_tokenizer_that_has_the_task_tokens_already(copy_of: CopyOf, captioners, images):
    folder = copy_of("original")
    FlorenceFolder.read(folder).tokenizer.save(str(folder / "tokenizer.json"))
    assert Florence2Captioner.load(folder).caption(images[:2]) == captioners["original"].caption(images[:2])


def test_the_image_fields_may_lie_in_the_processors_file(copy_of: CopyOf, captioners, images):
    folder = copy_of("converted")
    path = folder / "preprocessor_config.json"
    edit(folder / "processor_config.json", lambda config: config.update(image_processor=json.loads(path.read_text())))
    path.unlink()
    assert Florence2Captioner.load(folder).caption(images[:1]) == captioners["converted"].caption(images[:1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tokenizer_of_another_model(copy_of: CopyOf, layout):
    folder = copy_of(layout)
    tokenizer = FlorenceFolder.read(folder).tokenizer
    tokenizer.add_tokens([f"extra{number}" for number in range(100)])
    tokenizer.save(str(folder / "tokenizer.json"))
    assert "of one model?" in fault(folder)


@pytest.mark.parametrize(
    ("layout", "path", "value", "expected"),
    [
        ("original", "vision_config.dim_embed", "wide", "embed_dim is 'wide', expected a whole number for each stage"),
        ("original", "vision_config.depths", None, "depths is None"),
        ("original", "text_config.d_model", 64.5, "d_model is 64.5, expected a whole number"),
        ("original", "text_config.d_model", ..., "text_config lacks d_model"),
        ("original", "text_config", ..., "text_config is missing"),
        ("original", "text_config.scale_embedding", True, "scale_embedding is True, expected False"),
        ("original", "text_config.eos_token_id", 7, "eos_token_id is 7, but the tokenizer's </s> is 2"),
        ("original", "vision_config.image_feature_source", ["last_frame"], "image_feature_source is"),
        ("original", "vision_config.image_pos_embed", {"type": "sine"}, "image_pos_embed.type is 'sine'"),
        ("original", "vision_config.visual_temporal_embedding", ..., "visual_temporal_embedding.type is missing"),
        ("original", "vision_config.image_pos_embed", {"type": "learned_abs_2d", "max_pos_embeddings": 1}, "positions"),
        ("converted", "vision_config", ..., "vision_config is missing"),
        ("converted", "vision_config.depths", [1, 1, 1, 1], "unexpected"),
        ("converted", "text_config.encoder_layers", 3, "missing"),
    ],
)
def test_a_config_at_odds_with_the_rest(copy_of: CopyOf, layout, path, value, expected):
    def change(config: dict[str, Any]) -> None:
        *parents, name = path.split(".")
        for parent in parents:
            config = config[parent]
        if value is ...:
            del config[name]
        else:
            config[name] = value

    folder = copy_of(layout)
    edit(folder / "config.json", change)
    assert expected in fault(folder)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("size", {"shortest_edge": 64}, "size, image_mean or image_std"),
        ("size", {"height": 0, "width": 64}, "must be positive"),
        ("image_mean", [0.5], "three numbers"),
        ("image_std", [1, 1, 0], "three numbers"),
        ("image_seq_length", 577, "image_seq_length is 577, but images of 64x64 become 5"),
        ("do_normalize", False, "do_normalize is False"),
        ("resample", 2, "resample is 2"),
    ],
)
def test_image_fields_that_are_not_florences(copy_of: CopyOf, field, value, expected):
    folder = copy_of("original")
    edit(folder / "preprocessor_config.json", lambda fields: fields.update({field: value}))
    assert expected in fault(folder)


def test_cropping_after_scaling_is_refused_unless_it_cuts_nothing(copy_of: CopyOf):
    folder = copy_of("converted")
    edit(folder / "preprocessor_config.json", lambda fields: fields.update(do_center_crop=True))
    FlorenceFolder.read(folder)
    edit(folder / "preprocessor_config.json", lambda fields: fields.update(crop_size={"height": 9, "width": 9}))
    assert "do_center_crop" in fault(folder)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def plant(folder: Path, marker: Path) -> None:
    """Python files, an auto_map to them wherever one can stand, code as attention and as a decoding method."""
    code = f"import pathlib; pathlib.Path({str(marker)!r}).touch()\n"
    for name in ("configuration_florence2", "modeling_florence2", "processing_florence2", "__init__", "transformers"):
        (folder / f"{name}.py").write_text(code)
    classes = {
        "AutoConfig": "configuration_florence2.Florence2Config",
        "AutoModelForCausalLM": "modeling_florence2.Florence2ForConditionalGeneration",
        "AutoProcessor": "processing_florence2.Florence2Processor",
        "AutoTokenizer": ["processing_florence2.Tokenizer", "processing_florence2.Tokenizer"],
    }

    def poison(fields: dict[str, Any]) -> None:
        fields.update(auto_map=classes, trust_remote_code=True, custom_generate="modeling_florence2.generate")
        fields.update(attn_implementation="some-user/kernel", _attn_implementation="some-user/kernel")

    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json", "generation_config.json"):
        edit(folder / name, poison)
    for part in ("vision_config", "text_config"):
        edit(folder / "config.json", lambda config, part=part: poison(config[part]))


def test_nothing_in_a_hostile_folder_runs(copy_of: CopyOf, tmp_path):
    """In a process of its own, so that nothing that the tests imported can hide an import."""
    marker = tmp_path / "marker"
    folders = [copy_of(layout) for layout in LAYOUTS]
    for folder in folders:
        plant(folder, marker)
    script = (
        "import sys, numpy, pathlib\n"
        "from inspatio.captioning.florence import Florence2Captioner\n"
        "for folder in sys.argv[1:]:\n"
        "    captioner = Florence2Captioner.load(pathlib.Path(folder), max_new_tokens=4)\n"
        "    captioner.caption([numpy.zeros((8, 8, 3), numpy.uint8)])\n"
        "    print(captioner.model.config._attn_implementation)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, folders)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["sdpa", "sdpa"]
    assert not marker.exists()


def test_the_marker_would_show(copy_of: CopyOf, tmp_path):
    """The test above can fail: what it plants does run when it is imported."""
    marker = tmp_path / "marker"
    (tmp_path / "planted.py").write_text(f"import pathlib; pathlib.Path({str(marker)!r}).touch()\n")
    subprocess.run([sys.executable, "-c", "import planted"], cwd=tmp_path, check=True)
    assert marker.exists()


def test_weights_that_would_run_code_are_refused(copy_of: CopyOf, tmp_path):
    folder, marker = copy_of("original"), tmp_path / "marker"
    path = weights(folder)
    state = torch.load(path, weights_only=True)
    torch.save({**state, "vision_tower.convs.0.norm.bias": Bomb(marker)}, path)
    assert "refused, nothing in it was run" in fault(folder)
    path.write_bytes(pickle.dumps(Bomb(marker), protocol=2))
    assert "refused, nothing in it was run" in fault(folder)
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # the bomb is live
    assert marker.exists()


def test_two_seeds_two_networks_and_one_seed_one(tmp_path, folders, images):
    florence.write(tmp_path / "again", seed=0, layout="original")
    for path in sorted(folders["original"].iterdir()):
        if path.suffix != ".bin":  # a zip archive, which names its own folder
            assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    again = Florence2Captioner.load(tmp_path / "again").caption(images)
    assert again == Florence2Captioner.load(folders["original"]).caption(images)
    florence.write(tmp_path / "other", seed=1)
    assert Florence2Captioner.load(tmp_path / "other").caption(images) != again


def test_a_folder_reached_through_a_link(folders, tmp_path, captioners, images):
    (tmp_path / "link").symlink_to(folders["converted"])
    assert Florence2Captioner.load(tmp_path / "link").caption(images[:1]) == captioners["converted"].caption(images[:1])


def test_other_files_in_the_folder_do_not_matter(copy_of: CopyOf):
    folder = copy_of("original")
    before = FlorenceFolder.read(folder)
    for name in ("README.md", "sample_inference.ipynb", "LICENSE", ".gitattributes"):
        (folder / name).write_text("anything")
    after = FlorenceFolder.read(folder)
    assert (after.text.to_dict(), after.vision.to_dict()) == (before.text.to_dict(), before.vision.to_dict())
