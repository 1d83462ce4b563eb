"""Writes docs/settings.md from the settings table: `python docs/settings_page.py`. A test holds it."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from msgxc.settings import ROOT, Settings

HEAD = """# Settings

Every setting is an environment variable, or a line in `.env`; `.env.example` has them all. They are read
once, at the start; a wrong one stops the start with one line. With nothing set: the embedded store, and
the sandbox instead of the providers. `msgxc settings` shows what holds here, secrets masked, and which
channels are sandboxed.

This page is made from `msgxc/settings.py` by `python docs/settings_page.py`.

| setting | default | what it is |
|---|---|---|
"""


def default_of(field: FieldInfo) -> str:
    """The default as one would write it."""
    value = field.default
    if isinstance(value, SecretStr):
        return ""
    if isinstance(value, Path):
        value = value.relative_to(ROOT) if value.is_relative_to(ROOT) else value
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else ""


def page() -> str:
    """The whole page."""
    rows = (
        f"| `MSGXC_{name.upper()}` | {default_of(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    )
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "settings.md").write_text(page(), encoding="utf-8")
