"""Probing and reading: whatever the container, codec, orientation and order of reading, the right picture comes."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clips import add_sound, encode, number_of, numbered
from support.paths import SHARED

from inspatio.errors import ClipError
from inspatio.media import VideoReader, probe
from inspatio.media.color import HDR_TRANSFERS, hdr_to_bt709
from inspatio.media.fit import Fit

REAL = SHARED / "videos"

KINDS: dict[str, dict] = {
    "h264.mp4": {"options": {"bf": "3"}},
    "opengop.mp4": {"options": {"x264-params": "open-gop=1:bframes=3:keyint=12:min-keyint=12:scenecut=0"}},
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "hevc10.mp4": {"codec": "libx265", "pixel_format": "yuv420p10le", "options": {"x265-params": "log-level=none"}},
    "h264.mkv": {},
    "h264.ts": {},
    "raw.h264": {"container": "h264"},
    "prores.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "vp8.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "realtime"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "container": "mpeg"},
    "wmv2.wmv": {"codec": "wmv2"},
    "h263.flv": {"codec": "flv"},
    "palette.gif": {"codec": "gif", "pixel_format": "rgb8", "rate": 10},
}


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def plain(clips: Path) -> Path:
    """40 frames at 30 a second, key frames 12 apart, with B-frames."""
    return encode(clips / "plain.mp4", options={"bf": "3", "sc_threshold": "0"})


class TestEveryContainerAndCodec:
    @pytest.mark.parametrize("name", KINDS)
    def test_count_times_and_order(self, clips: Path, name: str) -> None:
        path = encode(clips / name, **KINDS[name])
        info = probe(path)
        rate = KINDS[name].get("rate", 30)
        assert (info.frame_count, info.frame_rate, info.size) == (40, rate, (48, 96))
        assert not info.variable_frame_rate
        assert info.duration == pytest.approx(40 / rate, abs=0.04)
        assert info.timestamps() == pytest.approx([Fraction(i, rate) for i in range(40)], abs=1e-3)
        orders = [list(range(40)), list(range(39, -1, -1)), [39, 0, 20, 20, 19, 7, 30, 31, 5, 39]]
        with VideoReader(info) as whole, VideoReader(info, cache_bytes=0) as small:
            for order in orders:
                frames = whole.read(order)
                assert [number_of(frame) for frame in frames] == order
                assert np.array_equal(frames, small.read(order))

    def test_edit_list_hides_frames(self, clips: Path, plain: Path) -> None:
        path = clips / "edited.mp4"
        with av.open(str(plain)) as source, av.open(str(path), "w") as out:
            stream = source.streams.video[0]
            target = out.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                shift = round(Fraction(5, 30) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, target
                out.mux(packet)
        info = probe(path)
        assert info.frame_count == 35
        with VideoReader(info) as reader:
            assert [number_of(frame) for frame in reader.read(range(34, -1, -1))] == list(range(39, 4, -1))

    def test_stream_that_begins_between_key_frames(self, clips: Path, plain: Path) -> None:
        path = clips / "cut.ts"
        with av.open(str(plain)) as source, av.open(str(path), "w") as out:
            stream = source.streams.video[0]
            target = out.add_stream_from_template(stream)
            for number, packet in enumerate(p for p in source.demux(stream) if p.dts is not None):
                if number >= 8:
                    packet.stream = target
                    out.mux(packet)
        info = probe(path)
        with VideoReader(info) as reader:
            assert [number_of(f) for f in reader.read(range(28))] == list(range(12, 40))
            assert [number_of(f) for f in reader.read(range(27, -1, -1))] == list(range(39, 11, -1))
        assert info.frame_count == 28

    def test_variable_frame_rate_keeps_exact_times(self, clips: Path) -> None:
        pts = [0, 1, 4, 9, 16, 25, 36, 49]
        path = encode(clips / "variable.mp4", 8, pts=pts, time_base=Fraction(1, 100))
        info = probe(path)
        assert info.variable_frame_rate
        assert info.timestamps() == [Fraction(p, 100) for p in pts]
        assert info.frame_rate == pytest.approx(7 / 0.49, abs=0.01)

    def test_pause_of_a_day(self, clips: Path) -> None:
        """The mean rate was rounded to 0, which ended the run with an assertion where the result is written."""
        info = probe(encode(clips / "pause.mkv", 4, pts=[0, 1, 2, 86400], time_base=Fraction(1), rate=1))
        assert info.frame_rate == Fraction(3, 86400)

    @pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), 25, 60])
    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    def test_constant_rates_are_exact(self, clips: Path, rate: Fraction, suffix: str) -> None:
        info = probe(encode(clips / f"rate{suffix}", rate=rate))
        assert (info.frame_rate, info.variable_frame_rate) == (rate, False)

    @pytest.mark.parametrize("count", [1, 2])
    def test_short_clips(self, clips: Path, count: int) -> None:
        info = probe(encode(clips / f"{count}.mp4", count))
        assert (info.frame_count, info.frame_rate) == (count, 30)
        assert info.duration == pytest.approx(count / 30)
        with VideoReader(info) as reader:
            assert [number_of(f) for f in reader.read([count - 1, 0])] == [count - 1, 0]

    @pytest.mark.parametrize("size", [(16, 16), (96, 54), (51, 77)])
    def test_sizes(self, clips: Path, size: tuple[int, int]) -> None:
        info = probe(encode(clips / f"{size}.mp4", 3, size, pixel_format="yuv444p"))
        assert info.size == size
        with VideoReader(info, (48, 80)) as reader:
            assert reader.read([2]).shape == (1, 48, 80, 3)

    def test_sound_is_noticed(self, clips: Path, plain: Path) -> None:
        assert not probe(plain).has_audio
        assert probe(add_sound(plain, clips / "sound.mp4")).has_audio

    def test_names_with_blanks_quotes_and_letters(self, clips: Path, plain: Path) -> None:
        path = clips / "a 'clip': \"größe\" 名前 %03d.mp4"
        path.write_bytes(plain.read_bytes())
        assert probe(path).frame_count == 40


class TestOrientationAndShape:
    @pytest.mark.parametrize("degrees", [0, 90, 180, -90])
    def test_rotation_is_applied(self, clips: Path, degrees: int) -> None:
        path = encode(clips / f"turn{degrees}.mp4", 2, setup=lambda s: s.set_display_rotation(degrees))
        info = probe(path)
        upright = np.rot90(numbered(1, (48, 96)), degrees // 90)  # both count counter-clockwise
        assert info.size == upright.shape[:2]
        assert info.rotation == -degrees % 360
        with VideoReader(info) as reader:
            assert np.abs(reader.read([1])[0].astype(float) - upright).mean() < 6

    def test_mirror_is_applied(self, clips: Path) -> None:
        path = encode(clips / "mirror.mp4", 2, setup=lambda s: s.set_display_rotation(0, hflip=True))
        with VideoReader(path) as reader:
            assert np.abs(reader.read([1])[0].astype(float) - numbered(1, (48, 96))[:, ::-1]).mean() < 6

    @pytest.mark.parametrize(("aspect", "size"), [(Fraction(4, 3), (48, 128)), (Fraction(1, 2), (96, 96))])
    def test_pixels_become_square(self, clips: Path, aspect: Fraction, size: tuple[int, int]) -> None:
        path = encode(
            clips / f"aspect{aspect.denominator}.mp4", 6, setup=lambda s: setattr(s, "sample_aspect_ratio", aspect)
        )
        info = probe(path)
        assert info.size == size
        with VideoReader(info) as reader:
            assert [number_of(f) for f in reader.read(range(6))] == list(range(6))
            assert np.abs(reader.read([5])[0].astype(float) - numbered(5, size)).mean() < 6

    def test_turned_and_not_square(self, clips: Path) -> None:
        def setup(stream: av.VideoStream) -> None:
            stream.sample_aspect_ratio = Fraction(2)
            stream.set_display_rotation(90)

        info = probe(encode(clips / "both.mp4", 2, setup=setup))
        assert info.size == (192, 48)
        with VideoReader(info) as reader:
            upright = np.rot90(numbered(1, (48, 192)))
            assert np.abs(reader.read([1])[0].astype(float) - upright).mean() < 6

    def test_size_that_changes_in_mid_stream(self, clips: Path) -> None:
        parts = [
            encode(
                clips / f"part{i}.h264", 10, size, container="h264", picture=lambda n, s, i=i: numbered(n + 10 * i, s)
            )
            for i, size in enumerate([(48, 96), (96, 192), (64, 96)])
        ]
        path = clips / "changing.h264"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        info = probe(path)
        assert (info.frame_count, info.size) == (30, (48, 96))
        with VideoReader(info) as reader, VideoReader(info, (40, 80)) as fitted:
            for order in (range(30), range(29, -1, -1)):
                assert [number_of(f) for f in reader.read(order)] == list(order)
                assert [number_of(f) for f in fitted.read(order)] == list(order)

    @given(
        source=st.tuples(st.integers(17, 60), st.integers(17, 60)),
        target=st.tuples(st.integers(16, 70), st.integers(16, 70)),
        mode=st.sampled_from(["crop", "pad", "stretch"]),
    )
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_reader_agrees_with_fit(self, tmp_path: Path, source, target, mode) -> None:
        """Scaling while converting puts every pixel where Fit, and so the intrinsics, say it is."""
        path = encode(tmp_path / "fit.mp4", 1, source, pixel_format="yuv444p", options={"crf": "5"}, picture=_blobs)
        with VideoReader(path) as whole, VideoReader(path, target, mode) as fitted:
            expected = Fit.make(source, target, mode).image(whole.read([0])[0]).astype(float)
            actual = fitted.read([0])[0].astype(float)
        assert np.abs(actual - expected).mean() < 3


def _blobs(_: int, size: tuple[int, int]) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    wave = 0.5 + 0.25 * np.sin(rows / size[0] * 9) + 0.25 * np.cos(columns / size[1] * 7)
    return (255 * np.stack([wave, wave[::-1], wave[:, ::-1]], -1)).astype(np.uint8)


CHART = np.array(
    [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255], [255, 0, 255]]
    + [[v, v, v] for v in (0, 16, 128, 235, 255)]
    + [[200, 150, 120], [40, 80, 60]],
    np.uint8,
)
PATCH = 32


def chart(_: int = 0, size: tuple[int, int] = (64, PATCH * len(CHART))) -> np.ndarray:
    """Flat patches, big enough for their centres to be free of chroma from the next one."""
    columns = np.arange(size[1]) * len(CHART) // size[1]
    return np.broadcast_to(CHART[columns], (*size, 3)).copy()


def chart_error(image: np.ndarray) -> int:
    """The largest difference at the centre of a patch, in 8-bit steps."""
    width = image.shape[1] // len(CHART)
    centres = image[image.shape[0] // 2, width // 2 :: width]
    return int(np.abs(centres.astype(int) - CHART).max())


def chart_clip(path: Path, matrix: int, color_range: int, pixel_format: str, *, tagged: bool = True, **options) -> Path:
    """The chart in a given matrix and range, tagged so or not at all."""

    def picture(index: int, size: tuple[int, int]) -> av.VideoFrame:
        frame = av.VideoFrame.from_ndarray(chart(index, size), format="rgb24").reformat(
            format=pixel_format, dst_colorspace=matrix, dst_color_range=color_range
        )
        frame.colorspace, frame.color_range = (matrix, color_range) if tagged else (2, 0)
        return frame

    def setup(stream: av.VideoStream) -> None:
        stream.colorspace, stream.color_range = (matrix, color_range) if tagged else (2, 0)

    size = options.pop("size", (64, PATCH * len(CHART)))
    quality = {"codec": "libx264", "options": {"crf": "1"}} | options
    return encode(path, 1, size, pixel_format=pixel_format, picture=picture, setup=setup, **quality)


class TestColour:
    TOLERANCE = 4
    """8-bit steps: the chart went through 8-bit limited-range YUV once, and through a nearly lossless codec."""

    @pytest.mark.parametrize("matrix", [1, 5, 9], ids=["bt709", "bt601", "bt2020"])
    @pytest.mark.parametrize("color_range", [1, 2], ids=["limited", "full"])
    @pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv422p10le"])
    def test_tagged_matrix_and_range(self, tmp_path: Path, matrix: int, color_range: int, pixel_format: str) -> None:
        path = chart_clip(tmp_path / "chart.mp4", matrix, color_range, pixel_format)
        with VideoReader(path) as reader:
            assert chart_error(reader.read([0])[0]) <= self.TOLERANCE

    @pytest.mark.parametrize(("size", "matrix"), [((64, 416), 5), ((720, 832), 1)], ids=["sd", "hd"])
    def test_untagged_matrix_is_what_players_take(self, tmp_path: Path, size: tuple[int, int], matrix: int) -> None:
        path = chart_clip(tmp_path / "chart.mp4", matrix, 1, "yuv420p", tagged=False, size=size)
        with VideoReader(path) as reader:
            assert chart_error(reader.read([0])[0]) <= self.TOLERANCE

    def test_full_range_jpeg(self, tmp_path: Path) -> None:
        path = chart_clip(tmp_path / "chart.avi", 5, 2, "yuvj444p", codec="mjpeg", options={"qmin": "1", "q": "1"})
        with VideoReader(path) as reader:
            assert chart_error(reader.read([0])[0]) <= 6

    @pytest.mark.parametrize(("color_range", "black", "white"), [(2, 0, 255), (1, 16, 235)], ids=["full", "limited"])
    def test_gray(self, tmp_path: Path, color_range: int, black: int, white: int) -> None:
        def picture(_: int, size: tuple[int, int]) -> av.VideoFrame:
            image = np.full(size, black, np.uint8)
            image[:, size[1] // 2 :] = white
            frame = av.VideoFrame.from_ndarray(image, format="gray")
            frame.color_range = color_range
            return frame

        path = encode(
            tmp_path / "gray.mp4",
            1,
            pixel_format="gray",
            options={"qp": "0"},
            picture=picture,
            setup=lambda s: setattr(s, "color_range", color_range),
        )
        with VideoReader(path) as reader:
            assert set(reader.read([0])[0, :, :40].ravel().tolist()) == {0}
            assert set(reader.read([0])[0, :, 56:].ravel().tolist()) == {255}


class TestHighDynamicRange:
    @pytest.mark.parametrize(
        ("transfer", "signal", "expected"),
        [
            (18, [0, 0.38, 0.75, 1.0], [0, 108, 241, 253]),  # HLG: black, gray card, reference white, peak
            (16, [0, 0.58, 1.0], [0, 241, 255]),  # PQ: black, reference white, 10000 cd/m2
        ],
        ids=["hlg", "pq"],
    )
    def test_levels(self, tmp_path: Path, transfer: int, signal: list[float], expected: list[int]) -> None:
        """Reference white (203 cd/m2) is nearly white, a gray card middle gray, and nothing takes on a colour."""

        def picture(_: int, size: tuple[int, int]) -> av.VideoFrame:
            planes = np.full((size[0] * 3 // 2, size[1]), 512, np.uint16)
            luma = 64 + 876 * np.array(signal)
            planes[: size[0]] = np.repeat(np.round(luma), size[1] // len(signal))[None]
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p10le")
            frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = 9, 1, transfer, 9
            return frame

        def setup(stream: av.VideoStream) -> None:
            stream.colorspace, stream.color_range, stream.color_trc, stream.color_primaries = 9, 1, transfer, 9

        path = encode(
            tmp_path / "hdr.mp4",
            1,
            (32, 96),
            pixel_format="yuv420p10le",
            options={"qp": "0"},
            picture=picture,
            setup=setup,
        )
        with VideoReader(path) as reader:
            image = reader.read([0])[0]
        width = 96 // len(signal)
        patches = image[16, width // 2 :: width].astype(int)
        assert np.abs(patches - np.array(expected)[:, None]).max() <= 3
        assert np.ptp(patches, axis=1).max() <= 1

    def test_highlights_keep_order_and_hue(self) -> None:
        light = np.linspace(10000, 65535, 50).astype(np.uint16)
        for transfer in HDR_TRANSFERS:
            ramp = np.stack([light, light // 2, light // 2], -1)[None]
            out = hdr_to_bt709(ramp, transfer)[0].astype(int)
            assert (np.diff(out[:, 0]) >= 0).all(), "brighter stays brighter"
            assert (out[:, 0] > out[:, 1]).all(), "red stays red"


class TestOrder:
    @given(order=st.lists(st.integers(0, 39), min_size=1, max_size=30), kept=st.integers(0, 20))
    @settings(max_examples=25, deadline=None)
    def test_any_order_gives_the_same_frames(self, plain: Path, order: list[int], kept: int) -> None:
        with VideoReader(plain, cache_bytes=kept * 48 * 96 * 3) as reader:
            assert [number_of(frame) for frame in reader.read(order)] == order

    def test_reading_in_blocks_equals_reading_at_once(self, plain: Path) -> None:
        order = [*range(40), *range(38, -1, -1), *range(0, 40, 3)]
        with VideoReader(plain) as whole, VideoReader(plain, cache_bytes=0) as blocks:
            parts = [blocks.read(order[i : i + 12]) for i in range(0, len(order), 12)]
            assert np.array_equal(whole.read(order), np.concatenate(parts))

    @pytest.mark.parametrize("block", [1, 12, 250])
    def test_backward_pass_costs_a_few_forward_passes(
        self, clips: Path, monkeypatch: pytest.MonkeyPatch, block: int
    ) -> None:
        """250 frames behind one key frame, and room for 60 of them."""
        path = clips / "long.mp4"
        if not path.exists():
            encode(path, 250, gop=250, options={"sc_threshold": "0", "preset": "ultrafast"})
        decoded = 0
        place = VideoReader._place

        def counted(self: VideoReader, frame: av.VideoFrame, count: int) -> int | None:
            nonlocal decoded
            decoded += 1
            return place(self, frame, count)

        monkeypatch.setattr(VideoReader, "_place", counted)
        with VideoReader(path, cache_bytes=60 * 48 * 96 * 3) as reader:
            backward = list(range(249, -1, -1))
            frames = [reader.read(backward[i : i + block]) for i in range(0, 250, block)]
            assert [number_of(f) for f in np.concatenate(frames)] == backward
            assert len(reader._cache) <= 60
        # 250 + 190 + 130 + 70 + 10 frames, and once more where a single read does not yet tell the direction.
        assert decoded <= 4 * 250

    def test_forward_pass_decodes_once(self, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        started = []
        start = VideoReader._start
        monkeypatch.setattr(VideoReader, "_start", lambda self, key: started.append(key) or start(self, key))
        with VideoReader(plain) as reader:
            for index in range(40):
                reader.read([index])
        assert started == [0]

    @pytest.mark.parametrize("index", [-1, 40])
    def test_no_such_frame(self, plain: Path, index: int) -> None:
        with VideoReader(plain) as reader, pytest.raises(IndexError, match="of a clip of 40 frames"):
            reader.read([index])

    def test_no_frames(self, plain: Path) -> None:
        with VideoReader(plain, (24, 32)) as reader:
            assert reader.read([]).shape == (0, 24, 32, 3)


_PEAK = """
import resource, sys
from pathlib import Path
from inspatio.media import VideoReader
with VideoReader(Path(sys.argv[1]), (480, 832), cache_bytes=0) as reader:
    for index in range(24):
        reader.read([index])
        if index in (7, 23):
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_4k_is_streamed(tmp_path: Path) -> None:
    """Sixteen more frames of 12 MB take no more memory."""
    path = encode(tmp_path / "4k.mp4", 24, (2160, 3840), options={"preset": "ultrafast"}, picture=_flat)
    result = subprocess.run([sys.executable, "-c", _PEAK, path], capture_output=True, check=True)
    peaks = [int(line) for line in result.stdout.split()]
    assert peaks[1] - peaks[0] < 100, f"peak memory {peaks} MiB for 8 and 24 frames"


def _flat(number: int, size: tuple[int, int]) -> np.ndarray:
    return np.full((*size, 3), 4 * number, np.uint8)


class TestBadInput:
    """Every one of them: one line that names the file, what is there and what was expected."""

    def expect(self, path: Path, *words: str) -> None:
        with pytest.raises(ClipError) as caught:
            probe(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        assert "expected" in message
        for word in words:
            assert word in message

    def test_no_such_file(self, tmp_path: Path) -> None:
        self.expect(tmp_path / "none.mp4", "no such file")

    def test_folder(self, tmp_path: Path) -> None:
        self.expect(tmp_path, "a folder")

    def test_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "zero.mp4").touch()
        self.expect(tmp_path / "zero.mp4", "0 bytes")

    @pytest.mark.parametrize("text", ["hello\n" * 500, "1\n00:00:01,000 --> 00:00:02,000\nhello\n", "\0" * 5000])
    def test_text_named_mp4(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "text.mp4").write_text(text)
        self.expect(tmp_path / "text.mp4")

    def test_playlist_does_not_open_other_files(self, tmp_path: Path, plain: Path) -> None:
        (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {plain}\n")
        self.expect(tmp_path / "list.mp4")

    def test_a_script_beside_the_video_it_names_is_refused(self, tmp_path: Path) -> None:
        """A concat script named .mp4 was taken as a clip and showed the video that it names."""
        encode(tmp_path / "real.mp4", 4)
        (tmp_path / "script.mp4").write_text("ffconcat version 1.0\nfile real.mp4\n")
        self.expect(tmp_path / "script.mp4", "playlist")

    def test_device(self) -> None:
        self.expect(Path("/dev/zero"), "not a regular file")

    @pytest.mark.parametrize("name", ["end.mkv", "end.webm"])
    def test_matroska_cut_at_the_very_end(self, tmp_path: Path, name: str) -> None:
        """What was missing within the last half second passed as whole: 12 frames became 2."""
        path = encode(tmp_path / name, 12, codec="libx264" if name == "end.mkv" else "libvpx", container="matroska")
        data = path.read_bytes()
        for missing in (1, len(data) // 3):
            path.write_bytes(data[:-missing])
            self.expect(path, "cut short", f"of {len(data)}")

    def test_sound_only(self, tmp_path: Path, plain: Path) -> None:
        with_sound = add_sound(plain, tmp_path / "both.mp4")
        with av.open(str(with_sound)) as source, av.open(str(tmp_path / "sound.mp4"), "w") as out:
            target = out.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux(source.streams.audio[0]):
                if packet.dts is not None:
                    packet.stream = target
                    out.mux(packet)
        self.expect(tmp_path / "sound.mp4", "no video stream", "audio")

    def test_cover_picture_is_no_video(self, tmp_path: Path, plain: Path) -> None:
        with_sound = add_sound(plain, tmp_path / "both.mp4")
        cover = encode(tmp_path / "cover.avi", 1, codec="mjpeg", pixel_format="yuvj420p")
        with (
            av.open(str(with_sound)) as source,
            av.open(str(cover)) as art,
            av.open(str(tmp_path / "cover.mp4"), "w") as out,
        ):
            sound = out.add_stream_from_template(source.streams.audio[0])
            picture = out.add_stream_from_template(art.streams.video[0])
            picture.disposition = Disposition.attached_pic
            for stream, target in ((source.streams.audio[0], sound), (art.streams.video[0], picture)):
                for packet in stream.container.demux(stream):  # pyright: ignore[reportAttributeAccessIssue]
                    if packet.dts is not None:
                        packet.stream = target
                        out.mux(packet)
        self.expect(tmp_path / "cover.mp4", "no video stream")

    @pytest.mark.parametrize("share", [0.2, 0.6])
    def test_cut_before_the_index(self, tmp_path: Path, plain: Path, share: float) -> None:
        data = plain.read_bytes()
        (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * share)])
        self.expect(tmp_path / "cut.mp4", "moov", "cut short")

    @pytest.mark.parametrize("share", [0.3, 0.6, 0.7])
    @pytest.mark.parametrize("name", ["first.mp4", "fragments.mp4", "cut.avi", "cut.mkv"])
    def test_cut_behind_the_index(self, tmp_path: Path, share: float, name: str) -> None:
        flags = {"first.mp4": "faststart", "fragments.mp4": "frag_keyframe+empty_moov"}.get(name)
        path = encode(tmp_path / name, 60, (96, 192), container_options={"movflags": flags} if flags else None)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        self.expect(path)

    def test_cut_behind_the_pictures(self, tmp_path: Path) -> None:
        """Where only the index at the end is lost, no frame is."""
        path = encode(tmp_path / "cut.avi", 60, (96, 192))
        data = path.read_bytes()
        path.write_bytes(data[: data.rindex(b"idx1")])
        assert probe(path).frame_count == 60

    def test_damage_inside(self, tmp_path: Path) -> None:
        """A hole in the picture data passes the index, and is then an error and not a gray picture."""
        path = encode(tmp_path / "damaged.mp4", 60, (96, 192), picture=_noise)
        data = bytearray(path.read_bytes())
        data[len(data) // 3 : len(data) // 3 + 4000] = bytes(4000)
        path.write_bytes(data)
        with pytest.raises(ClipError, match="damaged") as caught, VideoReader(path) as reader:
            reader.read(range(60))
        assert "\n" not in str(caught.value)

    def test_absurd_pixel_shape(self, tmp_path: Path) -> None:
        path = encode(tmp_path / "thin.mp4", 1, setup=lambda s: setattr(s, "sample_aspect_ratio", Fraction(1, 10)))
        self.expect(path, "1/10 times")


def _noise(number: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (*size, 3), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not beside the checkout")
class TestRealClips:
    @pytest.mark.parametrize(
        ("name", "size", "count", "rate", "sound"),
        [("coffee_table", (900, 1920), 247, 25, True), ("coffee_martini", (760, 1352), 300, 30, False)],
    )
    def test_probe(self, name: str, size: tuple[int, int], count: int, rate: int, sound: bool) -> None:
        info = probe(REAL / f"{name}.mp4")
        assert (info.size, info.frame_count, info.frame_rate, info.has_audio) == (size, count, rate, sound)
        assert info.duration == pytest.approx(count / rate)

    def test_bounce(self) -> None:
        """Forward and back again, at the working size."""
        with VideoReader(REAL / "coffee_table.mp4", (480, 832)) as reader:
            forward = reader.read(range(7))
            assert np.array_equal(reader.read(range(6, -1, -1)), forward[::-1])
            assert forward.std() > 10
