"""`.env.example` is made from the settings table: `python tests/demo/test_env_example.py > .env.example`."""

from __future__ import annotations

import textwrap

from pydantic import SecretStr

from msgxc.settings import ROOT, Settings

HEAD = "# Every setting of msgxc, with its default. Copy to .env, and take the # away from what you change.\n"


def text() -> str:
    """The whole file."""
    return HEAD + "".join(_entry(name) for name in Settings.model_fields)


def _entry(name: str) -> str:
    field = Settings.model_fields[name]
    lines = textwrap.wrap(field.description or "", 106)
    return (
        "\n" + "".join(f"# {line}\n" for line in lines) + f"#MSGXC_{name.upper()}={_shown(field.default)}\n"
    )


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace(f"{ROOT}/", "")


def test_the_example_shows_every_setting_with_its_default() -> None:
    """Somebody who copies the file sees all there is, and starts with what the code would do anyway."""
    assert (ROOT / ".env.example").read_text() == text()


def test_every_setting_is_described() -> None:
    """A setting without a sentence is a riddle."""
    assert all(field.description for field in Settings.model_fields.values())


if __name__ == "__main__":
    print(text(), end="")
