"""H.264 pictures: every page's stream can be decoded, whatever is dropped before it, and shows what JPEG shows."""

from __future__ import annotations

import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from support.live import FakeGenerator, Page, served, soft_scene
from support.scenes import noise_scene

from inspatio.live.encode import H264Encoder, codecs
from inspatio.live.picture_header import CODEC_H264_DELTA, CODEC_H264_KEY, PictureHeader


class Decoder:
    """What a browser's decoder does with a page's pictures."""

    def __init__(self) -> None:
        context = av.CodecContext.create("h264", "r")
        assert isinstance(context, VideoCodecContext)
        self._context = context

    def picture(self, data: bytes) -> np.ndarray:
        (frame,) = self._context.decode(av.Packet(data))  # at once: no delay
        return frame.to_ndarray(format="rgb24").astype(int)


def shown(page: Page, decoder: Decoder, position: tuple[float, float, float]) -> tuple[PictureHeader, np.ndarray]:
    """The picture of a new pose, decoded like all before it."""
    seq = page.pose(position)
    while True:
        header = page.until(lambda got: isinstance(got, PictureHeader))
        picture = decoder.picture(page.data)
        if header.seq >= seq:
            return header, picture


def as_h264(page: Page) -> Decoder:
    """Ask for H.264, and wait for the key that it begins with."""
    decoder = Decoder()
    page.send("codec", codec="h264")
    page.until(lambda got: getattr(got, "codec", 0) == CODEC_H264_KEY)
    decoder.picture(page.data)
    return decoder


def test_each_page_gets_pictures_as_it_asked(tmp_path: Path):
    with served(soft_scene(4), FakeGenerator(), tmp_path) as live, live.page() as page, live.page() as other:
        assert page.welcome["codecs"] == ["jpeg", "h264"]
        page.picture(page.pose((0.01, 0.0, 0.0)))
        decoder = as_h264(page)
        for i in range(6):
            header, picture = shown(page, decoder, (0.02 * i + 0.02, 0.0, 0.0))
            assert header.codec == CODEC_H264_DELTA
            jpeg = other.until(lambda got, frame=header.frame: getattr(got, "frame", 0) >= frame)
            assert jpeg.codec == 0
            expected = cv2.imdecode(np.frombuffer(other.data, np.uint8), cv2.IMREAD_COLOR_RGB)
            if jpeg.frame == header.frame:
                assert np.abs(picture - np.asarray(expected)).mean() < 3


def test_keys_come_after_a_cut_and_when_they_are_asked_for(tmp_path: Path):
    with served(noise_scene(60), FakeGenerator(), tmp_path) as live, live.page() as page:
        page.picture(page.pose((0.01, 0.0, 0.0)))
        decoder = as_h264(page)
        for message in ({"type": "time", "seek": 40}, {"type": "view", "layer": "source"}):
            assert shown(page, decoder, (0.1 + 0.01 * page.seq, 0.0, 0.0))[0].codec == CODEC_H264_DELTA
            page.send(**message)
            page.until(lambda got: getattr(got, "codec", 0) == CODEC_H264_KEY)
            decoder.picture(page.data)
        again = as_h264(page)  # as a page does whose decoder has failed
        shown(page, again, (0.5, 0.0, 0.0))
        page.send("codec", codec="jpeg")
        page.until(lambda got: getattr(got, "codec", 1) == 0)


def test_pictures_that_are_dropped_leave_no_gap(tmp_path: Path):
    """A page that draws slowly: what was not sent was not encoded either, so the next one can be decoded."""
    with served(soft_scene(4), FakeGenerator(), tmp_path) as live, live.page() as page:
        page.picture(page.pose((0.01, 0.0, 0.0)))
        decoder = as_h264(page)
        page.acknowledges = False
        for i in range(8):
            page.pose((0.02 * i + 0.02, 0.0, 0.0))
            time.sleep(0.05)
        for _ in range(2):
            page.until(lambda got: isinstance(got, PictureHeader))
            decoder.picture(page.data)
        last = page.pictures[-1]
        page.acknowledges = True
        for header in page.pictures[-2:]:
            page.send("ack", frame=header.frame, seen=1.0)
        header, _ = shown(page, decoder, (0.4, 0.0, 0.0))
        assert header.frame > last.frame + 1


def test_a_picture_in_is_a_picture_out_and_small():
    clip = soft_scene(8).frames.read(range(8))
    encoder, decoder = H264Encoder((96, 160)), Decoder()
    coded = [encoder.encode(image, key=i == 5) for i, image in enumerate(clip)]
    assert [key for _, key in coded] == [True, False, False, False, False, True, False, False]
    assert len(coded[1][0]) < 0.5 * len(coded[0][0])
    for (data, _), image in zip(coded, clip, strict=True):
        assert np.abs(decoder.picture(data) - image).mean() < 3


@pytest.mark.parametrize(("size", "expected"), [((96, 160), ("jpeg", "h264")), ((95, 160), ("jpeg",))])
def test_odd_sizes_are_jpeg(size: tuple[int, int], expected: tuple[str, ...]):
    assert codecs(size) == expected
