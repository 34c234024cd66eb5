"""The manifest: what is written comes back, whatever it is; faults name file, clip and field; journals fold."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspatio.errors import UserError
from inspatio.pipeline.fingerprints import file_fingerprint, fingerprint
from inspatio.pipeline.journal import find_journals
from inspatio.pipeline.manifest import MANIFEST_NAME, Manifest
from inspatio.pipeline.records import CaptionResult, Clip, GeometryResult, Source, VideoFacts


def make_clip(clip_id: str, text: str = "a room") -> Clip:
    facts = VideoFacts(
        height=480,
        width=832,
        frame_count=97,
        frame_rate="24/1",
        duration=97 / 24,
        rotation=0,
        has_audio=False,
        variable_frame_rate=False,
        stored_height=480,
        stored_width=832,
        mirrored=False,
    )
    return Clip(
        id=clip_id,
        source=Source(fingerprint="00", path=f"../in/{clip_id}.mp4", file_size=5, video=facts),
        caption=CaptionResult(fingerprint="01", text=text, origin="sidecar"),
        geometry=GeometryResult(
            fingerprint="02", folder=f"geometry/{clip_id}", backend="x", scale="metres", frame_count=97
        ),
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "work").mkdir()
    manifest = Manifest.open(tmp_path / "work", input=tmp_path / "in")
    manifest.save([make_clip("one"), make_clip("two")])
    return tmp_path / "work"


def reopen(folder, **options) -> Manifest:
    return Manifest.open(folder, input=folder.parent / "in", **options)


def edit(folder, change) -> None:
    path = folder / MANIFEST_NAME
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@settings(max_examples=15, deadline=None)
@given(
    clip_id=st.text(min_size=1).filter(lambda name: name not in (".", "..") and not {"/", "\0"} & {*name}),
    text=st.text(),
)
def test_what_is_written_comes_back(tmp_path_factory, clip_id, text):
    folder = tmp_path_factory.mktemp("any")
    clip = make_clip("x", text).model_copy(update={"id": clip_id})
    try:
        (clip_id + text).encode()
    except UnicodeEncodeError:  # lone surrogates cannot be in a file name or a text file
        return
    manifest = Manifest.open(folder, input=folder)
    manifest.put(clip.model_copy(update={"caption": None}))
    manifest.put(clip)
    assert Manifest.open(folder, input=folder).clips == [clip]
    manifest.fold()
    assert Manifest.open(folder, input=folder).clips == [clip]


def test_writing_the_same_gives_the_same_bytes(folder):
    before = (folder / MANIFEST_NAME).read_bytes()
    reopen(folder).put(make_clip("two"))
    assert (folder / MANIFEST_NAME).read_bytes() == before


def test_nothing_is_written_before_the_first_record(tmp_path):
    Manifest.open(tmp_path / "new", input=tmp_path)
    assert not (tmp_path / "new").exists()


def test_a_manifest_cut_in_half_is_one_line_that_names_it(folder):
    path = folder / MANIFEST_NAME
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"manifest\.json: not a whole JSON file") as caught:
        reopen(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": "inspatio-manifest", "version": ' + "1" * 5000 + "}",
        '{"format": "inspatio-manifest", "version": 2, "kind": "work", "input": "a\\u0000b", "clips": []}',
        '{"format": "inspatio-manifest", "version": 1, "clips": 5}',
    ],
)
def test_values_that_no_manifest_has_are_one_line(folder, text):
    """Deep nesting, numbers of thousands of digits and NUL in a path used to end in a traceback."""
    (folder / MANIFEST_NAME).write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json: ") as caught:
        reopen(folder)
    assert "\n" not in str(caught.value)


def test_a_newer_version_is_refused(folder):
    edit(folder, lambda data: data.update(version=99))
    with pytest.raises(UserError, match="version 99"):
        reopen(folder)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("source.file_size", lambda clip: clip["source"].pop("file_size")),
        ("geometry.frame_count", lambda clip: clip["geometry"].update(frame_count="97")),
        ("geometry.scale", lambda clip: clip["geometry"].update(scale="feet")),
        ("source.video.frame_rate", lambda clip: clip["source"]["video"].update(frame_rate="24")),
        ("caption.colour", lambda clip: clip["caption"].update(colour="red")),
    ],
)
def test_a_wrong_field_is_named_with_its_clip(folder, field, change):
    edit(folder, lambda data: change(data["clips"][1]))
    with pytest.raises(UserError) as caught:
        reopen(folder)
    message = str(caught.value)
    assert str(folder / MANIFEST_NAME) in message
    assert "clip 'two'" in message
    assert field in message


@pytest.mark.parametrize("clip_id", ["..", "", "../../x", "a/b"])
def test_ids_that_no_clip_has_are_refused(folder, clip_id):
    """Ids become names of files and folders."""
    edit(folder, lambda data: data["clips"][0].update(id=clip_id))
    with pytest.raises(UserError, match=r"manifest\.json: .*field id: "):
        reopen(folder)


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "geometry/../../x"])
def test_a_block_that_leads_out_of_the_folder_is_refused(folder, path):
    edit(folder, lambda data: data["clips"][0]["geometry"].update(folder=path))
    with pytest.raises(UserError, match=r"clip 'one', field geometry\.folder.*inside the manifest's folder"):
        reopen(folder)


def test_a_folder_of_another_input_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="another input"):
        Manifest.open(folder, input=tmp_path)


def test_the_whole_tree_can_move(folder, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / "in").rename(moved / "in")
    folder.rename(moved / "work")
    assert [clip.id for clip in reopen(moved / "work").clips] == ["one", "two"]


def test_two_clips_of_one_id_are_refused(folder):
    """The last one used to count, without a word."""
    edit(folder, lambda data: data["clips"].append(data["clips"][0]))
    with pytest.raises(UserError, match=r"field clips: got 2 clips of the id 'one'"):
        reopen(folder)


def texts(clips) -> list[str]:
    return [clip.caption.text for clip in clips if clip.caption]


class TestJournal:
    """Records between two writings of the whole file."""

    def test_what_a_record_writes_does_not_grow_with_the_number_of_clips(self, tmp_path):
        """The whole manifest used to be written for every clip."""
        per_clip = {}
        for count in (20, 200):
            folder = tmp_path / str(count)
            manifest = Manifest.open(folder, input=tmp_path)
            manifest.save(make_clip(f"{number:03}") for number in range(count))
            before = bytes_written()
            for number in range(count):
                manifest.put(make_clip(f"{number:03}", "new"))
            per_clip[count] = (bytes_written() - before) / count
            manifest.fold()
            assert texts(Manifest.read_clips(folder)) == ["new"] * count
        assert per_clip[200] < 1.1 * per_clip[20]

    def test_readers_see_a_record_at_once_and_the_manifest_has_it_in_the_end(self, folder):
        manifest = reopen(folder)
        manifest.put(make_clip("two", "new"))
        assert texts(Manifest.read_clips(folder)) == texts(reopen(folder).clips) == ["a room", "new"]
        assert texts_of_file(folder) == ["a room", "a room"]
        manifest.fold()
        assert texts_of_file(folder) == ["a room", "new"]
        assert not find_journals(folder)

    def test_looking_at_a_folder_in_which_a_run_records_takes_nothing_from_it(self, folder):
        """--dry_run used to merge and remove the files of workers that were still writing them."""
        main, worker = reopen(folder), reopen(folder, part=0)
        main.put(make_clip("one", "by main"))
        worker.put(make_clip("two", "by worker"))
        before = {path: path.read_bytes() for path in folder.iterdir()}
        assert texts(reopen(folder).clips) == ["by main", "by worker"]
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
        worker.put(make_clip("three", "by worker"))
        main.fold()
        assert texts_of_file(folder) == ["by main", "by worker", "by worker"]

    def test_a_worker_does_not_see_what_others_record(self, folder):
        """All workers must share the same clips out, whenever they start."""
        reopen(folder, part=0).put(make_clip("one", "by 0"))
        assert texts(reopen(folder, part=1).clips) == ["a room", "a room"]

    def test_killed_at_any_byte_of_a_line_the_records_before_it_count(self, folder):
        manifest = reopen(folder)
        manifest.put(make_clip("one", "new"))
        (path,) = find_journals(folder)
        first = path.stat().st_size
        manifest.put(make_clip("two", "new"))
        whole = path.read_bytes()
        for size in (first, first + 1, first + 40, len(whole) - 1):
            path.write_bytes(whole[:size])
            assert texts(Manifest.read_clips(folder)) == ["new", "a room"]
        for size in (0, 1, 30):
            path.write_bytes(whole[:size])
            assert texts(Manifest.read_clips(folder)) == ["a room", "a room"]

    def test_a_journal_that_was_cut_is_not_continued(self, folder):
        reopen(folder).put(make_clip("one", "new"))
        (path,) = find_journals(folder)
        path.write_bytes(path.read_bytes() + b'{"id": "tw')
        reopen(folder).put(make_clip("two", "new"))
        assert texts(Manifest.read_clips(folder)) == ["new", "new"]

    def test_killed_between_writing_the_manifest_and_removing_the_journal(self, folder):
        """The journal is in the manifest already; a newer record there must not be replaced by it."""
        reopen(folder).put(make_clip("one", "old"))
        (path,) = find_journals(folder)
        left = path.read_bytes()
        reopen(folder).save([make_clip("one", "new")], only=["one"])
        path.write_bytes(left)
        assert texts(Manifest.read_clips(folder)) == ["new"]
        reopen(folder).put(make_clip("one", "newest"))
        assert texts(Manifest.read_clips(folder)) == ["newest"]
        assert texts(reopen(folder).clips) == ["newest"]

    def test_nothing_of_a_record_is_left_where_the_disk_is_full(self, folder):
        """A part of a line would damage the records after it."""
        manifest = reopen(folder)
        manifest.put(make_clip("one", "new"))
        (path,) = find_journals(folder)
        before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
        previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
        try:
            with pytest.raises(UserError, match=r"manifest\.journal\.jsonl: larger than"):
                manifest.put(make_clip("two", "new"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, previous)
        assert path.read_bytes() == before
        manifest.put(make_clip("two", "newer"))
        assert texts(Manifest.read_clips(folder)) == ["new", "newer"]

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            (b"[", "line 3 is damaged"),
            (b"\xff", "line 3 is damaged"),
            (b"5", "line 3, clip 0, field \\(whole record\\)"),
            (b'{"id": "x", "source": {}}', "line 3, clip 'x', field source.fingerprint"),
        ],
    )
    def test_a_damaged_line_is_named(self, folder, line, told):
        reopen(folder).put(make_clip("one"))
        (path,) = find_journals(folder)
        path.write_bytes(path.read_bytes() + line + b"\n")
        with pytest.raises(UserError, match=rf"manifest\.journal\.jsonl: {told}") as caught:
            reopen(folder)
        assert "\n" not in str(caught.value)


def texts_of_file(folder) -> list[str]:
    """Of the manifest alone, as a program reads it that knows nothing of journals."""
    return [clip["caption"]["text"] for clip in json.loads((folder / MANIFEST_NAME).read_text())["clips"]]


def bytes_written() -> int:
    """All bytes that this process has given to write(), as Linux counts them."""
    status = Path("/proc/self/io")
    if not status.is_file():
        pytest.skip("only Linux counts them")
    return int(dict(line.split(": ") for line in status.read_text().splitlines())["wchar"])


def test_kill_minus_nine_while_writing_leaves_whole_records(folder):
    """A process that records and folds without end is killed at random moments; every record is whole each time."""
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[3])\n"
        "from test_manifest import make_clip; from inspatio.pipeline.manifest import Manifest\n"
        "m = Manifest.open(Path(sys.argv[1]), input=Path(sys.argv[2]))\n"
        "print('go', flush=True)\n"
        "i = 0\n"
        "while True:\n"
        "    i += 1; m.put(make_clip('one', 'x' * (i * 997 % 20000))); i % 3 or m.fold()\n"
    )
    here = str(Path(__file__).parent)
    for delay in (0.01, 0.05):
        arguments = [sys.executable, "-c", program, str(folder), str(folder.parent / "in"), here]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(delay)
            process.kill()
        assert [clip.id for clip in reopen(folder).clips] == ["one", "two"]


def test_fingerprints_are_of_values_not_of_order():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    with pytest.raises(TypeError, match="JSON"):
        fingerprint({"a": object()})


def test_the_content_makes_a_files_fingerprint(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"one")
    (tmp_path / "c").write_bytes(b"two")
    assert file_fingerprint(tmp_path / "a") == file_fingerprint(tmp_path / "b") != file_fingerprint(tmp_path / "c")
