"""Releases of cuDNN and PyTorch whose 3D convolutions in half precision are slow or wrong, as their issues report it.

cuDNN 9.8 to 9.14 was found to be wrong or slow for them (pytorch issues 163539 and 166122), so PyTorch 2.9 does not use
it there and falls back to an implementation that is 10 to 20 times slower and takes 10 GB more (issue 166643). PyTorch
2.10 comes with cuDNN 9.15. Not measured here.
"""

from __future__ import annotations

FIRST_BAD, FIRST_GOOD = 90800, 91500
"""As ``torch.backends.cudnn.version()`` gives them: 9.8.0 and 9.15.0."""


def fault_in_half(torch_version: str, cudnn_version: int | None) -> str | None:
    """Say what is wrong with 3D convolutions in bfloat16 or float16; None where nothing is known against them.

    Args:
        torch_version: such as ``2.9.1+cu128``.
        cudnn_version: such as 91002; None where PyTorch has no cuDNN.
    """
    if cudnn_version is None:
        return f"PyTorch {torch_version} has no cuDNN: convolutions on the GPU are many times slower"
    if not FIRST_BAD <= cudnn_version < FIRST_GOOD:
        return None
    release = f"{cudnn_version // 10000}.{cudnn_version // 100 % 100}.{cudnn_version % 100}"
    if torch_version.startswith("2.9."):
        return f"PyTorch {torch_version} does not use cuDNN {release} for 3D convolutions in half precision: very slow"
    return f"cuDNN {release} is reported to compute 3D convolutions in half precision wrongly or slowly"
