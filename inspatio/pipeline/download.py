"""Download published weights, resumable and checked: `inspatio download`, ``scripts/download.sh`` on a bare machine.

What to fetch from where stands in ``models/checkpoints.py``. The hub is asked first for names, sizes and the SHA-256 of
large files; these are shown, and nothing is fetched before a yes (or ``--yes``). A file grows under ``NAME.part``, is
continued where it broke off, compared with its size and checksum, and only then gets its name. Files that are there
with the right size are left alone. Nothing that is fetched is executed, and Python files are not even fetched.

Only the standard library is used, so that it runs before anything is installed. ``HF_ENDPOINT`` names another hub,
``HF_TOKEN`` an access token for it.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspatio.errors import UsageError, UserError
from inspatio.locations import home
from inspatio.models.checkpoints import CHECKPOINTS

HUB = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
TIMEOUT = 60
CHUNK = 1 << 20


class DownloadError(UserError):
    """The network or the hub failed: one line with what went wrong and what to do."""


PROFILES = {name: None for row in CHECKPOINTS.values() for name in row.profiles}
WITHOUT_DOWNLOAD = {
    "preview": "this profile has no network and needs no weights",
    "tiny": "its weights are made, not fetched: python scripts/make_tiny_checkpoints.py",
}
"""Profiles that need no published weights, and why."""


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
    parser = argparse.ArgumentParser(
        prog="scripts/download.sh",
        description="Download published weights, after showing their sizes and licences.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    options = parser.parse_args(arguments)
    try:
        return download(options)
    except UserError as error:
        print(f"download: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options on a parser (this program's own, or the command's)."""
    names = "\n".join(f"  {name:<20} {row.use}" for name, row in CHECKPOINTS.items())
    parser.epilog = f"names:\n{names}\n\nprofiles: {', '.join((*PROFILES, *WITHOUT_DOWNLOAD))}"
    parser.add_argument("names", nargs="*", metavar="NAME", help="weights to get, by name")
    parser.add_argument("--profile", metavar="NAME", help="get what this profile needs")
    parser.add_argument("--folder", type=Path, metavar="DIR", help=f"where to [{home() / 'checkpoints'}]")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry_run", action="store_true", help="say what would be fetched from where; no network")


def download(options: argparse.Namespace) -> int:
    """Show what would be fetched, ask, and fetch it.

    Raises:
        UsageError: an unknown name or profile, or nothing at all.
        DownloadError: the network or the hub failed.
    """
    folder = options.folder or home() / "checkpoints"
    files: list[File] = []
    for name in wanted(options.names, options.profile):
        if CHECKPOINTS[name].source is None:
            print(f"\n{name}: {CHECKPOINTS[name].note}")
            continue
        found = describe(name, folder, ask_hub=not options.dry_run)
        show(name, found)
        files += found
    if options.dry_run or not files:
        return 0
    todo = [file for file in files if not file.is_there]
    known = sum(file.size or 0 for file in todo)
    unknown = sum(file.size is None for file in todo)
    more = f" and {unknown} of a size that is not known" if unknown else ""
    print(f"\n{len(todo)} of {len(files)} files to fetch, {readable(known)} in all{more}, into {folder}")
    if todo and not options.yes and not confirmed():
        print("nothing fetched")
        return 1
    for file in todo:
        fetch(file)
    return 0


def wanted(names: Sequence[str], profile: str | None) -> list[str]:
    """The rows of the table that were asked for.

    Raises:
        UsageError: a name or profile that is not known, or nothing at all.
    """
    unknown = [name for name in names if name not in CHECKPOINTS]
    if unknown:
        raise UsageError(f"no weights named {', '.join(unknown)}; expected {', '.join(CHECKPOINTS)}")
    if profile in WITHOUT_DOWNLOAD:
        print(f"profile {profile}: {WITHOUT_DOWNLOAD[profile]}")
    elif profile is not None and profile not in PROFILES:
        raise UsageError(f"--profile {profile}: expected {', '.join((*PROFILES, *WITHOUT_DOWNLOAD))}")
    elif profile is None and not names:
        raise UsageError("nothing to download: give names, or --profile")
    of_profile = [name for name, row in CHECKPOINTS.items() if profile in row.profiles]
    return list(dict.fromkeys([*names, *of_profile]))


def describe(name: str, folder: Path, *, ask_hub: bool) -> list[File]:
    """List the files of a checkpoint, with the sizes and checksums that are known; a hub that is asked knows more.

    Raises:
        DownloadError: the hub cannot be reached, or does not list what the table names.
    """
    row = CHECKPOINTS[name]
    target = folder / name
    if row.repository is None:
        urls = {file: f"{row.url}{file.name}" for file in row.files}
        return [
            File(target / file.name, url, file.size or (length(url) if ask_hub else None), file.sha256)
            for file, url in urls.items()
        ]
    patterns = [file.name for file in row.files]
    listed: list[dict[str, Any]] = [{"path": pattern} for pattern in patterns]
    if ask_hub:
        entries = ask(f"{HUB}/api/models/{row.repository}/tree/main?recursive=1")
        listed = [entry for entry in entries if entry["type"] == "file" and chosen(entry["path"], patterns)]
        paths = [entry["path"] for entry in listed]
        missing = [pattern for pattern in patterns if "*" not in pattern and pattern not in paths]
        if missing or not paths:
            what = ", ".join(missing or patterns)
            raise DownloadError(f"{HUB}/{row.repository} does not list {what}: it may have been renamed, see its page")
    known = {file.name: file for file in row.files if file.sha256}
    files = []
    for entry in listed:
        path = entry["path"]
        size, sha256 = entry.get("size"), entry.get("lfs", {}).get("oid")
        if path in known:
            size, sha256 = known[path].size, known[path].sha256
        files.append(File(target / path, f"{HUB}/{row.repository}/resolve/main/{path}", size, sha256))
    return files


def chosen(path: str, patterns: Sequence[str]) -> bool:
    """Whether a listed file is wanted: by pattern, inside its folder, and not code."""
    safe = not path.startswith("/") and ".." not in path.split("/") and not path.endswith((".py", ".sh", ".so"))
    return safe and any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def show(name: str, files: Sequence[File]) -> None:
    """Print what a checkpoint is, its licence, and its files."""
    row = CHECKPOINTS[name]
    source = f"{HUB}/{row.repository}" if row.repository else row.url
    terms = f"{row.license.name}{': NOT FOR COMMERCIAL USE' if row.license.commercial is False else ''}"
    print(f"\n{name}: {row.use}\n  licence: {terms} ({row.license.url})\n  from:    {source}")
    for file in files:
        size = readable(file.size) if file.size is not None else "size not known"
        status = "in place" if file.is_there else "checksum" if file.sha256 else "no checksum"
        print(f"  {size:>15}  {status:<11}  {file.path}")


def fetch(file: File) -> None:
    """Fetch one file, continuing an earlier attempt; it gets its own name once size and checksum are right.

    Raises:
        DownloadError: the network failed (run again to continue), or size or checksum are wrong.
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
        raise DownloadError(f"{file.path.name}: SHA-256 mismatch; deleted the file. Run the same command again.")
    file.part.replace(file.path)


def receive(file: File, start: int) -> None:
    """Append the bytes from ``start`` on to the part file."""
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
    """Query a hub's JSON API."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers(url)), timeout=TIMEOUT) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{url}: {error.code} {error.reason}; {advice(error.code)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"{url}: cannot be reached ({reason}); check the network, or set HF_ENDPOINT") from error


def length(url: str) -> int | None:
    """The size in bytes that a server states for a file; None where it states none."""
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
    """Request headers; the access token goes to the hub and nowhere else."""
    token = os.environ.get("HF_TOKEN") if url.startswith(f"{HUB}/") else None
    return {"User-Agent": "inspatio-download"} | ({"Authorization": f"Bearer {token}"} if token else {})


def advice(code: int) -> str:
    """What to do about an HTTP error."""
    if code in (401, 403):
        return "accept its terms on its page and set HF_TOKEN"
    return "it may have moved: see its page" if code == 404 else "try again later"


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
        print("not interactive: pass --yes to download")
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
