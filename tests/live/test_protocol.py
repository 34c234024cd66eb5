"""The protocol: Python and JavaScript hold to one file of examples, and what is not in it is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from support.browser import node
from support.paths import ROOT

from inspatio.live import picture_header, protocol
from inspatio.live.controls import CONTROLS, controls_markdown
from inspatio.live.picture_header import HEADER_SIZE, PictureHeader
from inspatio.live.protocol import ToPage, parse

EXAMPLES = json.loads(Path(__file__).with_name("protocol.json").read_text(encoding="utf-8"))
HEADER = EXAMPLES["header"]


@pytest.mark.parametrize("example", EXAMPLES["from_page"], ids=lambda each: json.dumps(each)[:50])
def test_what_a_page_sends_is_understood(example: dict) -> None:
    message = parse(json.dumps(example))
    assert json.loads(message.model_dump_json(exclude_none=True)) == example


@pytest.mark.parametrize("example", EXAMPLES["to_page"], ids=lambda each: each["type"])
def test_what_the_server_sends_is_as_the_page_knows_it(example: dict) -> None:
    assert json.loads(TypeAdapter(ToPage).validate_python(example).to_json()) == example


def test_every_message_has_an_example() -> None:
    kinds: list[tuple[Any, str]] = [(protocol.FromPage, "from_page"), (ToPage, "to_page")]
    for union, examples in kinds:
        schema = json.dumps(TypeAdapter(union).json_schema())
        there = {example["type"] for example in EXAMPLES[examples]}
        assert all(f'"const": "{name}"' in schema for name in there)
        assert schema.count('"const"') == len(there)


@pytest.mark.parametrize("example", EXAMPLES["refused"], ids=lambda each: json.dumps(each)[:60])
def test_anything_else_is_one_line(example: dict) -> None:
    with pytest.raises(ValueError, match=r"\S") as refused:
        parse(json.dumps(example))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[1, 2]",
        "{",
        '{"type": "ping", "t": NaN}',
        '{"type": "ping", "t": 1e999}',
        "[" * 30000,
        '{"type": "ping", "t": ' + "1" * 5000 + "}",
        "{" + ",".join(f'"k{i}": 1' for i in range(5000)) + "}",
        '{"type": "ping", "t": 1, "\ud800": 1}',
    ],
    ids=lambda each: each[:20].encode("utf-8", "replace").decode(),
)
def test_hostile_text_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as refused:
        parse(text)
    assert len(str(refused.value)) < 400


def test_the_header_of_a_picture() -> None:
    data = bytes.fromhex(HEADER["hex"])
    header = PictureHeader.unpack(data)
    assert len(data) == HEADER_SIZE
    assert header.pack() == data
    for name, number in EXAMPLES["codecs"].items():
        assert getattr(picture_header, f"CODEC_{name}") == number
    for name in HEADER.keys() - {"hex"}:
        value = getattr(header, name)
        assert HEADER[name] == (list(value) if isinstance(value, tuple) else value)


CHECK = """
import { readFileSync } from "node:fs";
import { CODECS, FROM_PAGE, TO_PAGE, VERSION, HEADER_SIZE, check, unpack } from "./inspatio/live/static/protocol.js";
const examples = JSON.parse(readFileSync("tests/live/protocol.json", "utf8"));
for (const each of examples.from_page) check(each, FROM_PAGE);
for (const each of examples.to_page) check(each, TO_PAGE);
const names = (list) => [...new Set(list.map((each) => each.type))].sort().join();
const header = unpack(Uint8Array.from(Buffer.from(examples.header.hex, "hex")).buffer);
console.log(JSON.stringify({ version: VERSION, size: HEADER_SIZE, header, codecs: CODECS,
  from: Object.keys(FROM_PAGE).sort().join() === names(examples.from_page),
  to: Object.keys(TO_PAGE).sort().join() === names(examples.to_page) }));
"""


def test_the_page_holds_to_the_same_examples() -> None:
    done = subprocess.run(
        [node(), "--input-type=module", "-e", CHECK], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["version"] == protocol.VERSION
    assert told["size"] == HEADER_SIZE
    assert told["codecs"] == EXAMPLES["codecs"]
    assert told["from"]
    assert told["to"]
    spelled = {"source_frame": "sourceFrame", "age_ms": "ageMs", "server_time": "serverTime"}
    for name, value in HEADER.items():
        assert name == "hex" or told["header"][spelled.get(name, name)] == value


WALL = """
import { Camera, TURN } from "./inspatio/live/static/camera.js";
const speeds = [0.9, 0.05].map((coverage) => {
  const camera = new Camera();
  camera.position = [2, 0, 0];
  camera.coverage = coverage;
  return [[1, 0, 0], [-1, 0, 0]].map((move) => camera.drag({ move, look: [1, -1] }));
});
console.log(JSON.stringify(speeds));
"""


def test_only_what_leads_away_is_slow_where_the_source_shows_little() -> None:
    """The camera stands to the right of the source camera, so what that looks at is to the left."""
    done = subprocess.run([node(), "--input-type=module", "-e", WALL], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (shown, shown_back), (out, back) = json.loads(done.stdout)
    assert shown == shown_back == {"move": 1, "look": [1, 1]}
    assert out["move"] == out["look"][0] < 0.5
    assert back["move"] == 1
    assert back["look"][0] == out["look"][0], "turning to the right leads away from wherever it is done"


def test_the_table_of_controls_is_documented_and_plays_no_key_twice() -> None:
    assert controls_markdown() in (ROOT / "docs/live.md").read_text(encoding="utf-8"), "run scripts/make_docs.py"
    keys = [key for row in CONTROLS for key in row.keys]
    assert len(keys) == len(set(keys))
