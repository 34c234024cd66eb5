"""The node pack's entry: ComfyUI imports this folder and asks ``comfy_entrypoint`` for the nodes."""

from .nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
