"""A stand-in for ComfyUI: its V3 node API and its executor, as strict about what a node pack uses as the real one.

Written from ComfyUI 0.3.64 (``comfy_api/latest/_io.py``, ``execution.py``, ``nodes.py``, ``folder_paths.py``): the
parameters of inputs and outputs, how schemas are validated, how a pack is imported and asked for its nodes, how prompts
are checked before anything runs, and that nodes run as locked classes.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

UPLOADS = Enum("UploadType", {"image": "image_upload", "audio": "audio_upload", "video": "video_upload"}, type=str)
_ENDINGS = {"video": (".mp4", ".webm", ".mov", ".mkv", ".avi"), "image": (".png", ".jpg", ".jpeg", ".webp", ".gif")}


class InterruptProcessingException(Exception):
    """What ends a node when the user has cancelled."""


class Output:
    type = ""

    def __init__(self, id=None, display_name=None, tooltip=None, is_output_list=False) -> None:
        self.id, self.display_name = id, display_name


class Input:
    type = ""
    has_widget = False

    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, extra_dict=None) -> None:
        assert isinstance(id, str), f"input id {id!r}"
        self.id, self.optional = id, optional

    def check(self, value: Any) -> str | None:
        """What is wrong with a widget's value, before anything runs."""
        return f"{self.id}: got a value, expected a link" if not self.has_widget else None

    def convert(self, value: Any) -> Any:
        return value


class _Number(Input):
    has_widget = True
    kind: type = float
    min: float | None = None
    max: float | None = None

    def check(self, value: Any) -> str | None:
        try:
            value = self.kind(value)
        except (TypeError, ValueError):
            return f"{self.id}: got {value!r}, expected {self.kind.__name__}"
        if self.min is not None and value < self.min:
            return f"{self.id}: {value} is smaller than {self.min}"
        return f"{self.id}: {value} is bigger than {self.max}" if self.max is not None and value > self.max else None

    def convert(self, value: Any) -> Any:
        return self.kind(value)


class IntInput(_Number):
    kind = int

    def __init__(
        self,
        id,
        display_name=None,
        optional=False,
        tooltip=None,
        lazy=None,
        default=None,
        min=None,
        max=None,
        step=None,
        control_after_generate=None,
        display_mode=None,
        socketless=None,
        force_input=None,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy)
        self.min, self.max, self.default = min, max, default
        self.controlled = bool(control_after_generate)


class BooleanInput(Input):
    has_widget = True

    def __init__(
        self,
        id,
        display_name=None,
        optional=False,
        tooltip=None,
        lazy=None,
        default=None,
        label_on=None,
        label_off=None,
        socketless=None,
        force_input=None,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy)
        self.default = default

    def convert(self, value: Any) -> bool:
        return bool(value)


class StringInput(Input):
    has_widget = True

    def __init__(
        self,
        id,
        display_name=None,
        optional=False,
        tooltip=None,
        lazy=None,
        multiline=False,
        placeholder=None,
        default=None,
        dynamic_prompts=None,
        socketless=None,
        force_input=None,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy)
        self.default = default

    def convert(self, value: Any) -> str:
        return str(value)


class ComboInput(Input):
    has_widget = True

    def __init__(
        self,
        id,
        options=None,
        display_name=None,
        optional=False,
        tooltip=None,
        lazy=None,
        default=None,
        control_after_generate=None,
        upload=None,
        image_folder=None,
        remote=None,
        socketless=None,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy)
        assert isinstance(options, list), f"{id}: options {options!r}"
        assert upload is None or isinstance(upload, UPLOADS), f"{id}: upload {upload!r}"
        self.options, self.default, self.uploads = options, default, upload is not None

    def check(self, value: Any) -> str | None:
        return None if value in self.options else f"{self.id}: {value!r} not in {self.options}"


def io_type(name: str, base: type[Input] = Input) -> SimpleNamespace:
    """A type with its ``Input`` and ``Output``, as ``io.Custom`` makes them."""
    return SimpleNamespace(
        io_type=name, Input=type(f"{name}Input", (base,), {"type": name}), Output=type(name, (Output,), {"type": name})
    )


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Any] | None = None
    outputs: list[Any] | None = None
    hidden: list[Any] | None = None
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False

    def __post_init__(self) -> None:
        self.inputs, self.outputs = self.inputs or [], self.outputs or []
        assert all(isinstance(each, Input) for each in self.inputs), f"{self.node_id}: inputs {self.inputs}"
        assert all(isinstance(each, Output) for each in self.outputs), f"{self.node_id}: outputs {self.outputs}"
        names = [each.id for each in self.inputs] + [each.id for each in self.outputs if each.id is not None]
        assert len(set(names)) == len(names), f"{self.node_id}: ids are not unique: {names}"


class NodeOutput:
    def __init__(self, *args: Any, ui=None, expand=None, block_execution=None) -> None:
        self.args, self.ui = args, ui


class ComfyNode:
    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError

    @classmethod
    def execute(cls, **kwargs: Any) -> NodeOutput:
        raise NotImplementedError


class _Locked(type):
    """Nodes run as classes that nothing can be kept on."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise AttributeError(f"cannot set {name} on a node")


class ComfyExtension(ABC):
    @abstractmethod
    async def get_node_list(self) -> list[type[ComfyNode]]: ...


@dataclass
class ComfyUI:
    """What a test sees of the program: its input folder, the nodes, progress, and the cancel button."""

    input: Path
    nodes: dict[str, type[ComfyNode]] = field(default_factory=dict)
    progress: list[tuple[int, int]] = field(default_factory=list)
    cancel_at: int | None = None
    """The number of progress reports after which the user cancels."""

    def schema(self, node: str) -> Schema:
        return self.nodes[node].define_schema()

    def run(self, prompt: dict[str, dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
        """Check a prompt and run its nodes, those that others need first; the outputs of each by its number.

        Raises:
            ValueError: the prompt is not valid; says every fault, as ComfyUI lists them.
        """
        faults = [fault for number in prompt for fault in self._faults(prompt, number)]
        if faults:
            raise ValueError("; ".join(faults))
        done: dict[str, tuple[Any, ...]] = {}
        for number in prompt:
            self._execute(prompt, number, done)
        return done

    def fingerprint(self, node: str, **inputs: Any) -> Any:
        """What ComfyUI compares to find out whether a node must run again; links are None."""
        return self.nodes[node].fingerprint_inputs(**inputs)  # pyright: ignore[reportAttributeAccessIssue]

    def _faults(self, prompt: dict[str, dict[str, Any]], number: str) -> Iterator[str]:
        node = prompt[number]
        cls, schema, given = self.nodes[node["class_type"]], self.schema(node["class_type"]), node["inputs"]
        for each in schema.inputs or []:
            if each.id not in given:
                if not each.optional:
                    yield f"{schema.node_id}: required input is missing: {each.id}"
            elif isinstance(given[each.id], list):
                source, place = given[each.id]
                outputs = self.schema(prompt[source]["class_type"]).outputs or []
                if outputs[place].type != each.type:
                    yield f"{schema.node_id}: {each.id}: got {outputs[place].type}, expected {each.type}"
            elif fault := each.check(given[each.id]):
                yield f"{schema.node_id}: {fault}"
        validate = getattr(cls, "validate_inputs", None)
        if validate is not None:
            wanted = [name for name in inspect.getfullargspec(validate).args if name != "cls"]
            verdict = validate(**{name: given[name] for name in wanted if name in given})
            if verdict is not True:
                yield f"{schema.node_id}: {verdict}"

    def _execute(self, prompt: dict[str, dict[str, Any]], number: str, done: dict[str, tuple[Any, ...]]) -> None:
        if number in done:
            return
        node = prompt[number]
        schema, values = self.schema(node["class_type"]), {}
        known = {each.id: each for each in schema.inputs or []}
        for name, value in node["inputs"].items():
            if name not in known:
                continue  # ComfyUI passes over what a schema does not name
            if isinstance(value, list):
                self._execute(prompt, value[0], done)
                values[name] = done[value[0]][value[1]]
            else:
                values[name] = known[name].convert(value)
        cls = self.nodes[node["class_type"]]
        locked = _Locked(cls.__name__, (cls,), {})
        result = locked.execute(**values)
        assert isinstance(result, NodeOutput), f"{schema.node_id}: returned {type(result).__name__}"
        outputs = schema.outputs or []
        assert len(result.args) == len(outputs), f"{schema.node_id}: {len(result.args)} outputs of {len(outputs)}"
        for value, output in zip(result.args, outputs, strict=True):
            _check_value(schema.node_id, output.type, value)
        done[number] = result.args

    def _report(self, value: int, total: int) -> None:
        assert 0 <= value <= total, f"progress {value} of {total}"
        self.progress.append((value, total))

    def _check_interrupted(self) -> None:
        if self.cancel_at is not None and len(self.progress) >= self.cancel_at:
            self.cancel_at = None
            raise InterruptProcessingException


def _check_value(node: str, kind: str, value: Any) -> None:
    """Pictures are b h w 3, masks b h w, both float32 from 0 to 1 on the CPU."""
    if kind in ("IMAGE", "MASK"):
        import torch

        assert isinstance(value, torch.Tensor), f"{node}: {type(value).__name__} for {kind}"
        assert value.dtype == torch.float32, f"{node}: {value.dtype} for {kind}"
        assert value.device.type == "cpu", f"{node}: {kind} on {value.device}"
        assert value.ndim == (4 if kind == "IMAGE" else 3), f"{node}: {tuple(value.shape)} for {kind}"
        assert kind == "MASK" or value.shape[-1] == 3, f"{node}: {tuple(value.shape)} for {kind}"
        assert float(value.min()) >= 0, f"{node}: {kind} below 0"
        assert float(value.max()) <= 1, f"{node}: {kind} above 1"
    if kind == "FLOAT":
        assert isinstance(value, float), f"{node}: {type(value).__name__} for FLOAT"


class _CreateVideo(ComfyNode):
    """ComfyUI's own node of that name, as far as its inputs and outputs go."""

    @classmethod
    def define_schema(cls) -> Schema:
        inputs = [IMAGE.Input("images"), FLOAT.Input("fps", default=30.0, min=1.0, max=120.0, step=1.0)]
        return Schema("CreateVideo", inputs=inputs, outputs=[VIDEO.Output()])

    @classmethod
    def execute(cls, images: Any, fps: float) -> NodeOutput:  # pyright: ignore[reportIncompatibleMethodOverride]
        return NodeOutput((images, fps))


class _SaveVideo(ComfyNode):
    @classmethod
    def define_schema(cls) -> Schema:
        inputs = [
            VIDEO.Input("video"),
            STRING.Input("filename_prefix", default="video/ComfyUI"),
            COMBO.Input("format", options=["auto", "mp4"], default="auto"),
            COMBO.Input("codec", options=["auto", "h264"], default="auto"),
        ]
        return Schema("SaveVideo", inputs=inputs, outputs=[], is_output_node=True)

    @classmethod
    def execute(cls, **kwargs: Any) -> NodeOutput:
        assert set(kwargs) == {"video", "filename_prefix", "format", "codec"}, f"SaveVideo: {sorted(kwargs)}"
        return NodeOutput()


class FloatInput(IntInput):
    kind = float


IMAGE, MASK, VIDEO = io_type("IMAGE"), io_type("MASK"), io_type("VIDEO")
INT, FLOAT, BOOLEAN = io_type("INT", IntInput), io_type("FLOAT", FloatInput), io_type("BOOLEAN", BooleanInput)
STRING, COMBO = io_type("STRING", StringInput), io_type("COMBO", ComboInput)


@contextmanager
def comfyui(pack: Path, folder: Path) -> Iterator[ComfyUI]:
    """Import a node pack as ComfyUI does, with ``folder`` as its input folder; its modules are gone afterwards."""
    program = ComfyUI(folder, {"CreateVideo": _CreateVideo, "SaveVideo": _SaveVideo})
    modules, name = _modules(program), str(pack).replace(".", "_x_")
    for own, content in modules.items():
        module = ModuleType(own)
        vars(module).update(content)
        sys.modules[own] = module
        above, _, last = own.rpartition(".")
        if above:
            setattr(sys.modules[above], last, module)
    try:
        spec = importlib.util.spec_from_file_location(name, pack / "__init__.py")
        assert spec is not None, f"{pack}: no package"
        assert spec.loader is not None, f"{pack}: no loader"
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        extension = asyncio.run(module.comfy_entrypoint())
        assert isinstance(extension, ComfyExtension), f"the entry point gave {type(extension).__name__}"
        nodes = asyncio.run(extension.get_node_list())
        assert isinstance(nodes, list), f"nodes as {type(nodes).__name__}"
        for node in nodes:
            assert issubclass(node, ComfyNode), f"{node.__name__} is no ComfyNode"
            program.nodes[node.define_schema().node_id] = node
        yield program
    finally:
        for each in [each for each in sys.modules if each in modules or each.split(".")[0] == name]:
            sys.modules.pop(each)


def _modules(program: ComfyUI) -> dict[str, dict[str, Any]]:
    class ProgressBar:
        def __init__(self, total: int, node_id: str | None = None) -> None:
            self.total = total

        def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
            self.total = self.total if total is None else total
            program._report(min(value, self.total), self.total)

    def filter_files(files: list[str], kinds: list[str]) -> list[str]:
        return [name for name in files if name.lower().endswith(tuple(end for kind in kinds for end in _ENDINGS[kind]))]

    io = SimpleNamespace(
        Schema=Schema,
        ComfyNode=ComfyNode,
        NodeOutput=NodeOutput,
        UploadType=UPLOADS,
        Custom=io_type,
        Image=IMAGE,
        Mask=MASK,
        Int=INT,
        Float=FLOAT,
        Boolean=BOOLEAN,
        String=STRING,
        Combo=COMBO,
    )
    return {
        "comfy_api": {},
        "comfy_api.latest": {"io": io, "ComfyExtension": ComfyExtension},
        "comfy": {},
        "comfy.utils": {"ProgressBar": ProgressBar},
        "comfy.model_management": {
            "throw_exception_if_processing_interrupted": program._check_interrupted,
            "get_torch_device": lambda: "cpu",
        },
        "folder_paths": {
            "get_input_directory": lambda: str(program.input),
            "get_annotated_filepath": lambda name: str(program.input / name),
            "exists_annotated_filepath": lambda name: (program.input / name).exists(),
            "filter_files_content_types": filter_files,
        },
    }
