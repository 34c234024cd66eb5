"""Write docs/options.md from the declared settings."""

from __future__ import annotations

from inspatio.config import Profile
from inspatio.pipeline.options import BLOCK_NAMES, GROUPS
from inspatio.settings import Setting, declared


def options_markdown() -> str:
    """The text of docs/options.md: all options and all keys of profiles, by group."""
    lines = [
        "# Options and profiles",
        "",
        "Generated from the declarations in `inspatio/config.py` and `inspatio/pipeline/options.py` by",
        "`python scripts/make_docs.py`.",
        "",
        "A profile is a YAML file in `configs/`, or the file that `--config_path` names. The tables give its keys,",
        "such as `generator.precision`; what a profile leaves out has the default. A setting with both an option and a",
        "key is taken from the command line first, then from the profile. A setting marked with a stage in the last",
        "column is part of that stage's fingerprint: when it changes, the stage and those after it run again; (files)",
        "means that the content of the files counts, not their path.",
        "",
        "Paths in a profile are relative to `INSPATIO_HOME` or, where that is not set, to the project's folder; those",
        "on the command line are relative to the current folder. For the downloader see `inspatio download --help`.",
        "",
        "Exit codes: 0 all clips done, 1 some clips failed or the run could not continue, 2 wrong usage,",
        "130 interrupted (finished clips are kept).",
        "",
    ]
    lines += _table("profile", "", [("", each) for each in declared(Profile)])
    for group in GROUPS:
        rows = [(BLOCK_NAMES.get(kind), each) for kind in group.settings for each in declared(kind) if each.help]
        taken = ", ".join(f"`{command}`" for command in group.commands)
        lines += _table(group.title, f"Taken by {taken}.", rows)
    return "\n".join(lines)


def _table(title: str, intro: str, rows: list[tuple[str | None, Setting]]) -> list[str]:
    lines = [f"## {title[0].upper()}{title[1:]}", "", *([intro, ""] if intro else [])]
    lines += ["| option | key in a profile | default | meaning | changes |", "|---|---|---|---|---|"]
    for block, each in rows:
        options = "<br>".join(f"`{spelling}`" for spelling in each.options)
        key = "" if block is None else f"`{block}{'.' if block else ''}{each.name}`"
        choices = f" ({', '.join(f'`{choice}`' for choice in each.choices)})" if each.choices else ""
        stage = f"{each.changes or ''}{' (files)' if each.by_content else ''}"
        default = f"`{each.default_text}`" if each.default not in (None, "") else each.default_text
        row = [options, key, "required" if each.required else default, f"{each.help}{choices}", stage]
        lines.append(f"| {' | '.join(row)} |".replace("<", "&lt;").replace("&lt;br>", "<br>"))
    return [*lines, ""]
