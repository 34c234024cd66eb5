"""High dynamic range made ordinary: PQ and HLG pictures (phones record them by default) as BT.709.

Both are taken to display light with reference white at 1 (203 cd/m2, ITU-R BT.2408), from BT.2020 to BT.709 primaries
(BT.2087), highlights are bent smoothly below 1 with the hue kept, and the result is stored for a display of
gamma 2.4 (BT.1886). Up to three quarters of reference white nothing is bent. Transfer functions: ITU-R BT.2100.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from av.video.reformatter import ColorTrc
from numpy.typing import NDArray

from inspatio.types import Image

TRANSFERS = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
"""PQ and HLG."""

_REFERENCE_WHITE = 203.0
_HLG_PEAK = 1000.0
_BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0729], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1188]], np.float32
)
_KNEE = 0.75


def to_bt709(image: NDArray[np.uint16], transfer: int) -> Image:
    """An ``h w 3`` 16-bit RGB picture in BT.2020 primaries and a transfer of ``TRANSFERS``, as BT.709."""
    light = _light_table(transfer)[image]
    if transfer == ColorTrc.ARIB_STD_B67:
        light *= (light @ _BT2020_LUMINANCE)[..., None] ** 0.2 * (_HLG_PEAK / _REFERENCE_WHITE)
    light = np.maximum(cv2.transform(light, _BT2020_TO_BT709), 0)
    brightest = light.max(axis=-1, keepdims=True)
    over = np.maximum(brightest - _KNEE, 0)
    bent = brightest - over + over * (1 - _KNEE) / (1 - _KNEE + over)
    light *= bent / np.maximum(brightest, 1e-6)
    return (255 * light ** (1 / 2.4) + 0.5).astype(np.uint8)


@cache
def _light_table(transfer: int) -> NDArray[np.float32]:
    """The light of each 16-bit value: in units of reference white for PQ, of the scene's peak for HLG."""
    signal = np.arange(65536) / 65535
    if transfer == ColorTrc.ARIB_STD_B67:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)
    root = signal ** (1 / 78.84375)
    light = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    return (light * 10000 / _REFERENCE_WHITE).astype(np.float32)
