"""msgxc template …"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from msgxc.cli import app


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A template folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("MSGXC_TEMPLATES", str(tmp_path / "templates"))
    hello = tmp_path / "templates" / "hello"
    hello.mkdir(parents=True)
    (hello / "sms.txt").write_text("Hello {{ first_name }}, {{ values.off|default('5%') }}")
    (hello / "em.subject.txt").write_text("Hello")
    (hello / "em.html").write_text("<style>p { top: 0 }</style><p>Hello {{ name }}</p>")
    (hello / "push.json").write_text('{"title": "Hello", "body": "you", "data": {"k": "v"}}')
    return hello


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["template", *arguments])


def test_list_names_channels_and_languages(folder: Path) -> None:
    """One row per template."""
    (folder / "sms.de.txt").write_text("Hallo")
    row = run("list").stdout.splitlines()[-1].split()
    assert row == ["hello", "apns,", "email,", "fcm,", "sms,", "webpush,", "websocket", "default,", "de"]


def test_check_ends_with_2_when_something_would_fail(folder: Path) -> None:
    """Good: a line per template. Not good: a line per problem, and status 2."""
    good = run("check")
    assert (good.exit_code, good.stdout) == (0, "hello: fine on apns, email, fcm, sms, webpush, websocket\n")
    (folder / "sms.txt").write_text("\n{{ frist_name }}")
    bad = run("check", "hello")
    assert bad.exit_code == 2
    assert bad.stdout == "templates/hello/sms.txt, line 2: 'frist_name' is undefined\n"
    assert bad.stderr == "msgxc: wrong_template: 1 problem\n"


def test_check_tells_what_is_slow(folder: Path) -> None:
    """HTML that has to be worked on for each recipient is named."""
    (folder / "em.html").write_text("<style>p { top: 0 }</style><p class='{{ name }}'>x</p>")
    assert "hello/em.html: its CSS or text is made for each recipient" in run("check").stdout


def test_preview_shows_each_channel(folder: Path) -> None:
    """What the example recipient would get, with the campaign's values."""
    assert run("preview", "hello", "--channel", "sms", "--value", "off=9%").stdout == "Hello Anna, 9%\n"
    assert run("preview", "hello", "--channel", "apns").stdout == "Hello\nyou\nk: v\n"
    assert run("preview", "hello").stdout == "Subject: Hello\n\nHello Anna Müller\n"
    assert run("preview", "hello", "--html", "out.html").stdout == "wrote out.html\n"
    assert (
        Path("out.html").read_text()
        == '<html><head></head><body><p style="top: 0;">Hello Anna Müller</p></body></html>'
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["preview", "nope"], "not_found: no template 'nope'; there are: hello"),
        (["preview", "hello", "--value", "x"], "wrong_input: --value is written name=text"),
        (
            ["preview", "hello", "--channel", "sms", "--html", "x"],
            "wrong_input: --html goes with --channel email",
        ),
    ],
)
def test_mistakes_are_one_line(folder: Path, arguments: list[str], error: str) -> None:
    """One line, no traceback."""
    result = run(*arguments)
    assert (result.stdout, result.stderr) == ("", f"msgxc: {error}\n")
    assert result.exit_code in (1, 2)


def test_preview_for_a_real_recipient(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--uid takes the recipient, and their language, from the store; an unknown one is one line."""
    monkeypatch.setenv("MSGXC_HOME", str(tmp_path / "var"))
    (folder / "sms.de.txt").write_text("Hallo {{ name }}")
    (tmp_path / "people.jsonl").write_text(
        '{"uid": "u1", "name": "Bo", "lang": "de-AT", "cell": "+12025550123"}\n'
    )
    for command in (["schema", "apply"], ["people", "import", "people.jsonl"]):
        assert CliRunner().invoke(app, command).exit_code == 0
    assert run("preview", "hello", "--channel", "sms", "--uid", "u1").stdout == "Hallo Bo\n"
    assert run("preview", "hello", "--uid", "u2").stderr == "msgxc: not_found: no such recipient\n"
