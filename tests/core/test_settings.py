"""What a setting may hold: a wrong one stops the start, in one line that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from msgxc.errors import WrongSettings
from msgxc.settings import NOT_OURS, OF_MANY_LINES, ROOT, Settings, read_settings

TEXTS = [
    name
    for name, field in Settings.model_fields.items()
    if field.annotation in (str, SecretStr) and name not in OF_MANY_LINES
]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("end", ["\r\nBcc: eve@mail.example", "\n", "\x00", "\x1b[2J", "\u2028"])
def test_a_setting_is_one_line(name: str, end: str) -> None:
    """A line end in a sender's name, a topic or a key would begin another header. The value is not said."""
    with pytest.raises(WrongSettings, match=f"MSGXC_{name.upper()}: ") as refused:
        read_settings(_env_file=None, **{name: f"nobodys-business{end}"})
    assert "nobodys-business" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_keys_have_their_lines() -> None:
    """A PEM text, a service account."""
    pem = "-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----\n"
    given = read_settings(_env_file=None, apns_key=pem, fcm_service_account="{\n}", vapid_private_key=pem)
    assert given.apns_key.get_secret_value() == pem


@pytest.mark.parametrize("name", ["MSGXC_WINDOWW", "msgxc_windoww", "MSGXC_APNS_KEYFILE", "MSGXC_XYZZY"])
@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_name_that_is_no_setting_is_told(
    name: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the environment and in .env: one line, with the nearest name; never its value."""
    file = tmp_path / ".env"
    file.write_text(f"{name}=hush\nPATH=/x\nOTHER=1\n" if where == "file" else "")
    if where == "environment":
        monkeypatch.setenv(name, "hush")
    with pytest.raises(WrongSettings, match=f"{name.upper()}: no such setting") as refused:
        read_settings(_env_file=file)
    assert "hush" not in str(refused.value)
    assert ("did you mean MSGXC_WINDOW?" in str(refused.value)) == ("WINDOWW" in name.upper())


def test_names_of_other_programs_are_no_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What Kubernetes puts there for a service called msgxc, and what is not ours at all."""
    for name in ("MSGXC_PORT", "MSGXC_SERVICE_HOST", "MSGXC_PORT_80_TCP_ADDR", "MSGXCX", "MY_MSGXC_X"):
        monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    read_settings(_env_file=tmp_path / "none")


def test_every_name_that_the_repository_uses_is_known() -> None:
    """A name that a program of ours reads is a setting, or one of NOT_OURS."""
    used: set[str] = set()
    for place in ("msgxc", "flows", "tasks", "servers", "Makefile", "Dockerfile", "prefect.yaml"):
        paths = [ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*.*")
        for path in paths:
            if path.suffix in (".py", ".sh", ".yml", ".yaml", ".conf", ".md", ""):
                used |= set(re.findall(r"\bMSGXC_([A-Z][A-Z0-9_]*[A-Z0-9])\b", path.read_text("utf-8")))
    assert used <= {name.upper() for name in Settings.model_fields} | NOT_OURS


@pytest.mark.parametrize(
    "url",
    [
        "",
        "msgxc.example.org",
        "ftp://x.example",
        "https://",
        "https:///x",
        "https://u:p@x.example",
        "https://x y",
        "https://x.example/?a=1",
        "https://x.example/#a",
        "https://x.example:99999",
        "https://[x",
        "//x.example",
        "https://bücher.example",
        "javascript:alert(1)",
    ],
)
def test_a_public_url_leads_somewhere(url: str) -> None:
    """Links are made of it: an absolute http or https address, to which a path can be added."""
    with pytest.raises(WrongSettings, match="MSGXC_PUBLIC_URL: an address as https://"):
        read_settings(_env_file=None, public_url=url)


def test_a_rule_for_two_settings_is_one_line_too() -> None:
    """It begins with the setting's name, as any other."""
    with pytest.raises(WrongSettings) as refused:
        read_settings(_env_file=None, store="cassandra", secret_key="")
    assert str(refused.value) == "MSGXC_SECRET_KEY: needed when the store is shared"


def test_a_public_url_may_have_a_path_and_a_port() -> None:
    """Behind a proxy."""
    for url in (
        "http://127.0.0.1:8080",
        "https://x.example",
        "https://x.example:8443/msgxc/",
        "http://[::1]:1",
    ):
        assert read_settings(_env_file=None, public_url=url).public_url == url
