"""Write the example workflow of the ComfyUI node pack and its picture: python scripts/comfyui_workflow.py

integrations/comfyui/example_workflows/refilm.json, which ComfyUI lists among its templates, and refilm.jpg, which it
shows beside it. The graph is declared here once; the picture is drawn from the file that was written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

PACK = Path(__file__).resolve().parent.parent / "integrations/comfyui"
WORKFLOW = PACK / "example_workflows/refilm.json"
_ROW, _TITLE, _WIDTH = 22, 30, 300
_COLOURS = {
    "INSPATIO_GENERATOR": "#b39ddb",
    "INSPATIO_SCENE": "#ffb74d",
    "INSPATIO_TRAJECTORY": "#81c784",
    "IMAGE": "#64b5f6",
    "MASK": "#4db6ac",
    "FLOAT": "#cfd8dc",
    "VIDEO": "#f06292",
}


@dataclass(frozen=True)
class Node:
    """A node of the graph: its type and title, place, sockets (name, type) and widget values."""

    kind: str
    title: str
    place: tuple[int, int]
    inputs: tuple[tuple[str, str], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    widgets: dict[str, Any] = field(default_factory=dict)


SCENE, PATH, IMAGE = ("scene", "INSPATIO_SCENE"), ("trajectory", "INSPATIO_TRAJECTORY"), ("images", "IMAGE")
FPS, VIDEO = ("fps", "FLOAT"), ("video", "VIDEO")


def _video(title: str, top: int, prefix: str) -> list[Node]:
    save = {"filename_prefix": prefix, "format": "auto", "codec": "auto"}
    return [
        Node("CreateVideo", "Create Video", (1120, top), (IMAGE, FPS), (("VIDEO", "VIDEO"),), {"fps": 25.0}),
        Node("SaveVideo", f"Save Video: {title}", (1480, top), (VIDEO,), (), save),
    ]


NODES = [
    Node(
        "InspatioLoadGenerator",
        "Load Generator (inspatio)",
        (40, 60),
        outputs=(("generator", "INSPATIO_GENERATOR"),),
        widgets={"profile": "preview"},
    ),
    Node(
        "InspatioLoadScene",
        "Load Scene (inspatio)",
        (400, 60),
        (("generator", "INSPATIO_GENERATOR"),),
        (SCENE,),
        {"file": "living_room.mp4", "fit": "crop", "geometry": "", "prompt": "", "upload": "image"},
    ),
    Node(
        "InspatioTrajectory",
        "Trajectory (inspatio)",
        (400, 470),
        outputs=(PATH,),
        widgets={"trajectory": "orbit_left", "frames": 0, "adaptive_frames": True},
    ),
    Node(
        "InspatioRender",
        "Render (inspatio)",
        (760, 60),
        (SCENE, PATH),
        (IMAGE, ("holes", "MASK"), FPS),
    ),
    Node(
        "InspatioGenerate",
        "Generate (inspatio)",
        (760, 360),
        (SCENE, PATH),
        (IMAGE, FPS),
        {"seed": 0, "control_after_generate": "fixed"},
    ),
    *_video("render", 60, "video/render"),
    *_video("result", 360, "video/result"),
]
LINKS = [
    (0, "generator", 1, "generator"),
    (1, "scene", 3, "scene"),
    (1, "scene", 4, "scene"),
    (2, "trajectory", 3, "trajectory"),
    (2, "trajectory", 4, "trajectory"),
    (3, "images", 5, "images"),
    (3, "fps", 5, "fps"),
    (5, "VIDEO", 6, "video"),
    (4, "images", 7, "images"),
    (4, "fps", 7, "fps"),
    (7, "VIDEO", 8, "video"),
]
"""From node and output to node and input."""


def workflow_text() -> str:
    """The workflow as ComfyUI's editor saves it (version 0.4)."""
    nodes, links = [], []
    for number, node in enumerate(NODES, start=1):
        inputs = [{"name": name, "type": kind, "link": None} for name, kind in node.inputs]
        for each in inputs:
            if each["name"] in node.widgets:
                each["widget"] = {"name": each["name"]}
        nodes.append(
            {
                "id": number,
                "type": node.kind,
                "pos": list(node.place),
                "size": [_WIDTH, _height(node)],
                "flags": {},
                "order": number - 1,
                "mode": 0,
                "inputs": inputs,
                "outputs": [{"name": name, "type": kind, "links": []} for name, kind in node.outputs],
                "title": node.title,
                "properties": {"Node name for S&R": node.kind},
                "widgets_values": list(node.widgets.values()),
            }
        )
    for number, (start, output, end, name) in enumerate(LINKS, start=1):
        from_slot = [each for each, _ in NODES[start].outputs].index(output)
        to_slot = [each for each, _ in NODES[end].inputs].index(name)
        kind = NODES[start].outputs[from_slot][1]
        links.append([number, start + 1, from_slot, end + 1, to_slot, kind])
        nodes[start]["outputs"][from_slot]["links"].append(number)
        nodes[end]["inputs"][to_slot]["link"] = number
    record = {
        "id": "6a2c1d70-2f7b-4f0e-9d53-0c1f7a0f5b11",
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }
    return json.dumps(record, indent=1) + "\n"


def read_workflow(path: Path) -> dict[str, Any]:
    """A workflow file."""
    return json.loads(path.read_text(encoding="utf-8"))


def prompt_of(workflow: dict[str, Any], schemas: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The prompt that ComfyUI's editor sends for a workflow: by node, its type and its inputs (links and values).

    ``schemas`` are those of the node types: widget values are stored in their order, with one more after a number that
    changes by itself, and that of the button for uploads at the end.
    """
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        linked = {each["name"]: sources[each["link"]] for each in node["inputs"] if each["link"] is not None}
        values, inputs = iter(node["widgets_values"]), {}
        for each in schemas[node["type"]].inputs:
            if each.has_widget:
                inputs[each.id] = next(values)
                if getattr(each, "controlled", False):
                    next(values)
        buttons = sum(getattr(each, "uploads", False) for each in schemas[node["type"]].inputs)
        assert len(list(values)) == buttons, f"{node['type']}: other widget values than widgets"
        assert set(linked) <= {each.id for each in schemas[node["type"]].inputs}, f"{node['type']}: {linked}"
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": {**inputs, **linked}}
    return prompt


def picture(workflow: dict[str, Any]) -> Image.Image:
    """The graph as the editor shows it: nodes with their sockets and widgets, and the links between them."""
    right = max(node["pos"][0] + node["size"][0] for node in workflow["nodes"])
    bottom = max(node["pos"][1] + node["size"][1] for node in workflow["nodes"])
    canvas = Image.new("RGB", (right + 40, bottom + 40), "#222222")
    draw = ImageDraw.Draw(canvas)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for _, start, output, end, name, kind in workflow["links"]:
        _curve(draw, _socket(nodes[start], output, True), _socket(nodes[end], name, False), _COLOURS[kind])
    for node in workflow["nodes"]:
        _box(draw, node)
    return canvas


def _height(node: Node) -> int:
    return _TITLE + _ROW * (max(len(node.inputs), len(node.outputs)) + len(node.widgets)) + 16


def _socket(node: dict[str, Any], slot: int, output: bool) -> tuple[int, int]:
    x, y = node["pos"]
    return x + (node["size"][0] if output else 0), y + _TITLE + 6 + _ROW * slot + _ROW // 2


def _curve(draw: ImageDraw.ImageDraw, start: tuple[int, int], end: tuple[int, int], colour: str) -> None:
    reach = max(abs(end[0] - start[0]) / 2, 40)
    (x0, y0), (x3, y3) = start, end
    x1, x2 = x0 + reach, x3 - reach
    points = []
    for step in range(41):
        t = step / 40
        a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
        points.append((a * x0 + b * x1 + c * x2 + d * x3, (a + b) * y0 + (c + d) * y3))
    draw.line(points, fill=colour, width=3, joint="curve")


def _box(draw: ImageDraw.ImageDraw, node: dict[str, Any]) -> None:
    (x, y), (width, height) = node["pos"], node["size"]
    font, small = ImageFont.load_default(15), ImageFont.load_default(13)
    draw.rounded_rectangle((x, y, x + width, y + height), 8, fill="#353535", outline="#111111")
    draw.rounded_rectangle((x, y, x + width, y + _TITLE), 8, fill="#444444")
    draw.text((x + 12, y + 6), node["title"], font=font, fill="#dddddd")
    for slot, each in enumerate(node["inputs"]):
        at = _socket(node, slot, False)
        _dot(draw, at, _COLOURS[each["type"]])
        draw.text((at[0] + 12, at[1] - 8), each["name"], font=small, fill="#bbbbbb")
    for slot, each in enumerate(node["outputs"]):
        at = _socket(node, slot, True)
        _dot(draw, at, _COLOURS[each["type"]])
        draw.text((at[0] - 12, at[1] - 8), each["name"], font=small, fill="#bbbbbb", anchor="ra")
    rows = max(len(node["inputs"]), len(node["outputs"]))
    names = next(each for each in NODES if each.title == node["title"]).widgets
    for row, (name, value) in enumerate(zip(names, node["widgets_values"], strict=True), start=rows):
        top = y + _TITLE + 8 + _ROW * row
        draw.rounded_rectangle((x + 10, top, x + width - 10, top + _ROW - 4), 8, fill="#222222")
        text = "choose file to upload" if name == "upload" else str(value)
        draw.text((x + 18, top + 1), name, font=small, fill="#888888")
        draw.text((x + width - 18, top + 1), text, font=small, fill="#dddddd", anchor="ra")


def _dot(draw: ImageDraw.ImageDraw, at: tuple[int, int], colour: str) -> None:
    draw.ellipse((at[0] - 5, at[1] - 5, at[0] + 5, at[1] + 5), fill=colour)


def main() -> None:
    WORKFLOW.parent.mkdir(parents=True, exist_ok=True)
    WORKFLOW.write_text(workflow_text(), encoding="utf-8")
    picture(read_workflow(WORKFLOW)).save(WORKFLOW.with_suffix(".jpg"), quality=88)
    print(f"wrote {WORKFLOW} and {WORKFLOW.with_suffix('.jpg').name}")


if __name__ == "__main__":
    main()
