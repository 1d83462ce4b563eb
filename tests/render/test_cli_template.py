"""msgxc template …"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from msgxc.cli import app
from msgxc.render.exposed import exposed


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
    assert good.exit_code == 0
    assert good.stdout.splitlines() == [
        "hello: fine on apns, email, fcm, sms, webpush, websocket",
        "  warning: templates/hello/em.html: "
        "no {{ unsubscribe_url }}: marketing needs it, only a service does not",
        "  templates/hello/sms.txt: GSM-7, 1 segment",
    ]
    (folder / "sms.txt").write_text("\n{{ frist_name }}")
    bad = run("check", "hello")
    assert bad.exit_code == 2
    assert bad.stdout.splitlines()[0] == "templates/hello/sms.txt, line 2: 'frist_name' is undefined"
    assert bad.stderr == "msgxc: wrong_template: 1 problem\n"


def test_check_tells_folders_that_are_passed_over(folder: Path) -> None:
    """A folder in capitals: status 2, unless another template was asked about."""
    (folder.parent / "Sale").mkdir()
    done = run("check")
    assert done.exit_code == 2
    assert done.stdout.startswith("templates/Sale: passed over: a template's name has small letters")
    assert run("check", "hello").exit_code == 0


def test_a_template_that_cannot_be_read_hides_no_other(folder: Path) -> None:
    """It is told with its file and line; the others are listed and checked."""
    (folder.parent / "bytes").mkdir()
    (folder.parent / "bytes" / "sms.txt").write_bytes(b"M\xfcller")
    assert {line.split()[0] for line in run("list").stdout.splitlines()} >= {"bytes", "hello"}
    done = run("check")
    assert done.exit_code == 2
    assert "bytes/sms.txt, line 1: not UTF-8" in done.stdout
    assert "hello: fine on apns" in done.stdout


@pytest.mark.parametrize("name", ["from", "google.c.a.e", "gcm", "message_type", "aps", "msgxc_receipt"])
def test_check_names_what_a_provider_reserves(folder: Path, name: str) -> None:
    """A name of data that Android's or Apple's push service keeps for itself, with file and line."""
    (folder / "push.json").write_text(f'{{"title": "T",\n"body": "B",\n"data": {{\n"{name}": "shop"}}}}')
    done = run("check", "hello")
    assert done.exit_code == 2
    assert f"push.json, line 4: '{name}' is a reserved name" in done.output


def test_check_tells_what_is_slow(folder: Path) -> None:
    """HTML that has to be worked on for each recipient is named."""
    (folder / "em.html").write_text("<style>p { top: 0 }</style><p class='{{ name }}'>x</p>")
    assert "hello/em.html: its CSS or text is made for each recipient" in run("check").stdout


def test_preview_shows_each_channel(folder: Path) -> None:
    """What the example recipient would get, with the campaign's values."""
    assert run("preview", "hello", "--channel", "sms", "--value", "off=9%").stdout == (
        "Hello Anna, 9%\n\n(GSM-7, 1 segment)\n"
    )
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
        (["preview", "nope"], "not_found: there is no template 'nope'; there are: hello"),
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
    assert run("preview", "hello", "--channel", "sms", "--uid", "u1").stdout.splitlines()[0] == "Hallo Bo"
    assert run("preview", "hello", "--uid", "u2").stderr == "msgxc: not_found: no such recipient\n"


def test_a_link_leads_to_another_place_of_the_folder_and_no_further(folder: Path, tmp_path: Path) -> None:
    """As a mounted volume has it (a name, a link to the data of the day, the file) it is read; what is
    elsewhere on the machine goes into nobody's message."""
    today = folder.parent / "..today"
    today.mkdir()
    (folder / "sms.txt").rename(today / "sms.txt")
    (folder.parent / "..data").symlink_to(today)
    (folder / "sms.txt").symlink_to(Path("..") / "..data" / "sms.txt")
    assert run("check").exit_code == 0
    (tmp_path / "elsewhere").write_text("not for the public")
    (folder / "sms.txt").unlink()
    (folder / "sms.txt").symlink_to(tmp_path / "elsewhere")
    refused = run("preview", "hello", "--channel", "sms")
    assert refused.exit_code == 2
    assert "not for the public" not in refused.output
    assert "sms.txt: a link that leads out of the template folder" in refused.output


def test_check_names_places_where_escaping_is_not_enough(folder: Path) -> None:
    """With file and line: outside of quotes, in a script, in a style, a whole link that a person has written.
    Text, quoted attributes, links of ours and statements are no such places."""
    good = """<a href="{{ url }}" title='{{ name }} & Co'>{{ name }}</a>
{% if attributes.x < 3 %}<p class="{% if name %}a{% endif %}">{{ "<p title=" ~ name }}</p>{% endif %}
<a href="https://example.com/{{ name|urlencode }}">{# {{ name }} #}</a><![if !mso]><br><![endif]>"""
    assert exposed(good) == []
    (folder / "em.html").write_text(
        """<p title={{ name }}
>Hello {{ name }}</p>
<script>var name = "{{ name }}";</script>
<style>p { color: {{ attributes.color|default("red") }} }</style>
<a href=" {{ attributes.site|default("x") }}/x">y</a>"""
    )
    done = run("check", "hello")
    assert done.exit_code == 0
    assert [line.strip() for line in done.stdout.splitlines() if "Variables" in line] == [
        f"templates/hello/em.html, line {line}: {what} (docs/templates.md, Variables)"
        for line, what in (
            (1, "a value outside of quotes in <p>"),
            (3, "a value in <script>"),
            (4, "a value in <style>"),
            (5, "href begins with what a person has written: any scheme"),
        )
    ]
