"""Write docs/options.md from the declared settings. Run it after a setting was added or changed."""

from pathlib import Path

from inspatio.pipeline.options import options_markdown

if __name__ == "__main__":
    path = Path(__file__).resolve().parent.parent / "docs" / "options.md"
    path.write_text(options_markdown(), encoding="utf-8")
    print(f"wrote {path}")
