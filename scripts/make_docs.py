"""Write the parts of the documentation that follow from declarations: python scripts/make_docs.py

docs/options.md is made of the declared settings, the table in checkpoints/README.md of the table of checkpoints, the
one in docs/live.md of the table of controls, those in docs/formats.md of the conventions of camera paths and of
the presets. Run it after one of them has changed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from inspatio.cameras.expressions import presets_markdown
from inspatio.cameras.formats.conventions import conventions_markdown
from inspatio.live.controls import controls_markdown
from inspatio.models.checkpoints import CHECKPOINTS
from inspatio.pipeline.options_markdown import options_markdown

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    write(ROOT / "docs/options.md", options_markdown())
    page = ROOT / "checkpoints/README.md"
    table = "\n".join(table_rows())
    write(page, re.sub(r"(?m)^\| folder \|(.*\n\|)+.*$", lambda _: table, page.read_text(encoding="utf-8")))
    page = ROOT / "docs/formats.md"
    paths = conventions_markdown()
    write(page, re.sub(r"(?m)^\| format \| file \|(.*\n\|)+.*$", lambda _: paths, page.read_text(encoding="utf-8")))
    presets = presets_markdown()
    write(page, re.sub(r"(?m)^\| preset \|(.*\n\|)+.*$", lambda _: presets, page.read_text(encoding="utf-8")))
    page = ROOT / "docs/live.md"
    keys = controls_markdown().rstrip("\n")
    write(page, re.sub(r"(?m)^\| key \|(.*\n\|)+.*$", lambda _: keys, page.read_text(encoding="utf-8")))


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path}")


def table_rows() -> Iterator[str]:
    """The lines of the Markdown table in ``checkpoints/README.md``."""
    yield "| folder | for | source | parameters | size | licence |"
    yield "|---|---|---|---|---|---|"
    for row in CHECKPOINTS.values():
        sizes = [file.size for file in row.files if file.size]
        size = f"{sum(sizes) / 1e9:.2f} GB" if sizes else "shown before fetching" if row.source else "not known"
        name = row.repository or (row.source and row.source.removeprefix("https://")) or "no public source known"
        source = f"[{name}]({row.source})" if row.source else name
        terms = f"[{row.license.name}]({row.license.url})"
        if row.license.commercial is False:
            terms += " **not for commercial use**"
        note = f"; {row.note}" if row.note else ""
        yield f"| `{row.name}` | {row.use}{note} | {source} | {row.parameters} | {size} | {terms} |"


if __name__ == "__main__":
    main()
