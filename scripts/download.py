"""Published weights into checkpoints/, resumable and checked; run through ``bash scripts/download.sh``.

What a hub lists (names, sizes, SHA-256 of large files) is asked first and shown; nothing is fetched before a yes (or
``--yes``). A file grows under ``NAME.part``, is continued where it broke off, compared with its size and checksum, and
only then gets its name. Files that are there with the right size are left alone. Nothing that is fetched is executed,
and Python files are not even fetched. Only the standard library is used, so that it runs before anything is installed.

``HF_ENDPOINT`` names another hub, ``HF_TOKEN`` an access token for it.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HUB = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
TIMEOUT = 60
CHUNK = 1 << 20


class DownloadError(Exception):
    """One line: what went wrong and what to do."""


@dataclass(frozen=True)
class Weights:
    """A folder below checkpoints/ and where its files come from.

    ``repository`` is on the hub; ``patterns`` choose its files. ``urls`` are files elsewhere. ``known`` are bytes and
    SHA-256 of files that several public copies agree on; they are compared whatever the hub says.
    """

    use: str
    licence: str
    repository: str | None = None
    patterns: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    known: dict[str, tuple[int, str]] = field(default_factory=dict)
    folder: str | None = None


WEIGHTS = {
    "InSpatio-World-1.3B": Weights(
        "generator, 1.3B (v1.0)",
        "see its page; the code is Apache-2.0",
        "inspatio/world",
        ("InSpatio-World-1.3B.safetensors",),
    ),
    "InSpatio-World-1.5": Weights(
        "generator, 1.3B (v1.5): give it with --checkpoint_path",
        "none stated for the weights; the code is Apache-2.0",
        "inspatio/world-1.5",
        ("*.safetensors",),
        folder="InSpatio-World-1.3B",
    ),
    "Wan2.1-T2V-1.3B": Weights(
        "text encoder, tokenizer, video VAE (not the base transformer, which nothing here needs)",
        "Apache-2.0",
        "Wan-AI/Wan2.1-T2V-1.3B",
        ("config.json", "models_t5_umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth", "google/umt5-xxl/*"),
        known={
            "models_t5_umt5-xxl-enc-bf16.pth": (
                11_361_920_418,
                "7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d",
            ),
            "Wan2.1_VAE.pth": (507_609_880, "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981"),
        },
    ),
    "DA3": Weights(
        "geometry: Depth Anything 3, nested giant-large (metric)",
        "CC BY-NC 4.0: NOT FOR COMMERCIAL USE",
        "depth-anything/DA3NESTED-GIANT-LARGE",
        ("config.json", "model.safetensors"),
    ),
    "DA3-BASE": Weights(
        "geometry: Depth Anything 3, base (with DA3METRIC-LARGE instead of DA3)",
        "Apache-2.0",
        "depth-anything/DA3-BASE",
        ("config.json", "model.safetensors"),
    ),
    "DA3METRIC-LARGE": Weights(
        "geometry: Depth Anything 3, metric (with DA3-BASE instead of DA3)",
        "Apache-2.0",
        "depth-anything/DA3METRIC-LARGE",
        ("config.json", "model.safetensors"),
    ),
    "Florence-2-large": Weights(
        "captions, as converted for transformers",
        "MIT (the original's)",
        "florence-community/Florence-2-large",
        ("*.json", "*.txt", "model.safetensors"),
    ),
    "taehv": Weights(
        "small video autoencoder, for --use_tae",
        "MIT",
        urls=("https://raw.githubusercontent.com/madebyollin/taehv/main/taew2_1.pth",),
    ),
}

_COMMON = ("Wan2.1-T2V-1.3B", "DA3", "Florence-2-large", "taehv")
PROFILES: dict[str, tuple[str, ...]] = {
    "inference_1.3b": ("InSpatio-World-1.3B", *_COMMON),
    "inference_14b": _COMMON,
    "preview": (),
    "tiny": (),
}
NOTES = {
    "inference_14b": "no public source of InSpatio-World-14B.safetensors is known; put it into "
    "checkpoints/InSpatio-World-14B/ with its config.json, or name it with --checkpoint_path",
    "preview": "this profile has no network and needs no weights",
    "tiny": "its weights are made, not fetched: python scripts/make_tiny_checkpoints.py",
}


@dataclass(frozen=True)
class File:
    """One file to fetch; ``size`` and ``sha256`` where they are known."""

    path: Path
    url: str
    size: int | None
    sha256: str | None

    @property
    def part(self) -> Path:
        return self.path.with_name(self.path.name + ".part")

    @property
    def is_there(self) -> bool:
        return self.path.is_file() and self.size in (None, self.path.stat().st_size)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    names = [*options.names, *PROFILES.get(options.profile, ())]
    if options.profile in NOTES:
        print(f"note: {NOTES[options.profile]}")
    if not names:
        return 0
    try:
        files: list[File] = []
        for name in dict.fromkeys(names):
            found = describe(name, options.folder, ask_hub=not options.dry_run)
            show(name, found)
            files += found
        todo = [file for file in files if not file.is_there]
        if options.dry_run:
            return 0
        known = sum(file.size or 0 for file in todo)
        print(f"\n{len(todo)} of {len(files)} files to fetch, {readable(known)} in all, into {options.folder}")
        if todo and not options.yes and not confirmed():
            print("nothing fetched")
            return 1
        for file in todo:
            fetch(file)
    except DownloadError as error:
        print(f"download: {error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options; names and profiles that do not exist are refused with a list of those that do."""
    names = "\n".join(f"  {name:<22} {weights.use}" for name, weights in WEIGHTS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/download.sh",
        description="Get published weights, after showing their sizes and licences.",
        epilog=f"names:\n{names}\n\nprofiles: {', '.join(PROFILES)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="weights to get, by name")
    parser.add_argument("--profile", choices=list(PROFILES), help="get what this profile needs")
    parser.add_argument("--folder", type=Path, default=ROOT / "checkpoints", help="where to [checkpoints]")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry_run", action="store_true", help="say what would be fetched from where; no network")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in WEIGHTS]
    if unknown:
        parser.error(f"no weights named {', '.join(unknown)}; there are {', '.join(WEIGHTS)}")
    if not options.names and options.profile is None:
        parser.error("say what to get: names, or --profile")
    return options


def describe(name: str, folder: Path, *, ask_hub: bool) -> list[File]:
    """The files of some weights; sizes and checksums as the hub gives them, unknown when it is not asked."""
    weights = WEIGHTS[name]
    target = folder / (weights.folder or name)
    files = [File(target / url.rsplit("/", 1)[1], url, length(url) if ask_hub else None, None) for url in weights.urls]
    if weights.repository is None:
        return files
    listed: list[dict[str, Any]] = [{"path": pattern} for pattern in weights.patterns]
    if ask_hub:
        entries = ask(f"{HUB}/api/models/{weights.repository}/tree/main?recursive=1")
        listed = [entry for entry in entries if entry["type"] == "file" and chosen(entry["path"], weights.patterns)]
        paths = [entry["path"] for entry in listed]
        missing = [p for p in weights.patterns if "*" not in p and p not in paths]
        if missing or not paths:
            what = ", ".join(missing or weights.patterns)
            raise DownloadError(f"{HUB}/{weights.repository} does not list {what}: see checkpoints/README.md")
    for entry in listed:
        path = entry["path"]
        size, sha256 = weights.known.get(path, (entry.get("size"), entry.get("lfs", {}).get("oid")))
        files.append(File(target / path, f"{HUB}/{weights.repository}/resolve/main/{path}", size, sha256))
    return files


def chosen(path: str, patterns: Sequence[str]) -> bool:
    """Whether a listed file is wanted: by pattern, inside its folder, and not code."""
    safe = not path.startswith("/") and ".." not in path.split("/") and not path.endswith((".py", ".sh", ".so"))
    return safe and any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def show(name: str, files: Sequence[File]) -> None:
    """What it is, under which licence, and its files."""
    weights = WEIGHTS[name]
    source = f"{HUB}/{weights.repository}" if weights.repository else weights.urls[0]
    print(f"\n{name}: {weights.use}\n  licence: {weights.licence}\n  from:    {source}")
    for file in files:
        size = readable(file.size) if file.size is not None else "size not known"
        status = "is there" if file.is_there else "checksum" if file.sha256 else "no checksum"
        print(f"  {size:>15}  {status:<11}  {file.path}")


def fetch(file: File) -> None:
    """One file, continued where an earlier attempt broke off; it gets its name once it is whole and right.

    Raises:
        DownloadError: the network failed (run again to continue), or what came is not what was promised.
    """
    file.path.parent.mkdir(parents=True, exist_ok=True)
    start = file.part.stat().st_size if file.part.is_file() else 0
    if file.size is None or start != file.size:
        receive(file, start)
    size = file.part.stat().st_size
    if file.size is not None and size != file.size:
        if size > file.size:
            file.part.unlink()
        raise DownloadError(f"{file.path.name}: got {size} bytes, expected {file.size}; run the same command again")
    if file.sha256 is not None and checksum(file.part) != file.sha256:
        file.part.unlink()
        raise DownloadError(
            f"{file.path.name}: the checksum is wrong, the file was removed; run the same command again"
        )
    file.part.replace(file.path)


def receive(file: File, start: int) -> None:
    """Bytes from ``start`` on to the end of the part file."""
    request = urllib.request.Request(file.url, headers=headers(file.url))
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            continues = response.status == 206
            with file.part.open("ab" if continues else "wb") as handle:
                done = start if continues else 0
                while block := response.read(CHUNK):
                    handle.write(block)
                    done += len(block)
                    progress(file, done)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{file.url}: {error.code} {error.reason}; {advice(error.code)}") from error
    except OSError as error:
        raise DownloadError(
            f"{file.path.name}: broke off ({getattr(error, 'reason', error)}); run the same command again to continue"
        ) from error
    finally:
        print(file=sys.stderr)


def ask(url: str) -> Any:
    """What a hub's API answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers(url)), timeout=TIMEOUT) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{url}: {error.code} {error.reason}; {advice(error.code)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"{url}: cannot be reached ({reason}); check the network, or set HF_ENDPOINT") from error


def length(url: str) -> int | None:
    """The size that a server gives for a file, if it does."""
    request = urllib.request.Request(url, headers=headers(url), method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            given = response.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{url}: {error.code} {error.reason}; {advice(error.code)}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"{url}: cannot be reached ({reason}); check the network") from error
    return int(given) if given else None


def headers(url: str) -> dict[str, str]:
    """The token goes to the hub and nowhere else."""
    token = os.environ.get("HF_TOKEN") if url.startswith(f"{HUB}/") else None
    return {"User-Agent": "inspatio-download"} | ({"Authorization": f"Bearer {token}"} if token else {})


def advice(code: int) -> str:
    """What to do about an HTTP error."""
    if code in (401, 403):
        return "accept its terms on its page and set HF_TOKEN"
    return "it may have moved: see checkpoints/README.md" if code == 404 else "try again later"


def checksum(path: Path) -> str:
    """SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def progress(file: File, done: int) -> None:
    whole = f" of {readable(file.size)}" if file.size else ""
    print(f"\r  {file.path.name}: {readable(done)}{whole}   ", end="", file=sys.stderr, flush=True)


def confirmed() -> bool:
    if not sys.stdin.isatty():
        print("this is no terminal: add --yes to fetch them")
        return False
    return input("fetch them? [y/N] ").strip().lower() in ("y", "yes")


def readable(size: int) -> str:
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}"


if __name__ == "__main__":
    sys.exit(main())
