"""What `msgxc template check` promises: it has looked at what providers and mail clients refuse or cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from msgxc.checking import BRIDGED, CLIPPED, Checked, checked
from msgxc.model import Channel
from msgxc.render import Template, load, needs

BASE = "https://msgxc.example.org"
LEAVE = '<a href="{{ unsubscribe_url }}">stop</a>'


def of(**files: str) -> Checked:
    """A template of these files: push_json is push.json."""
    return checked(Template("t", {name.replace("_", "."): text for name, text in files.items()}, "t"), BASE)


def html(source: str) -> Checked:
    """An email with this HTML."""
    return of(em_subject_txt="s", em_html=f"<p>{source}</p>{LEAVE}")


# -- sizes


@pytest.mark.parametrize(
    ("body", "channels"),
    [
        ("a" * 3_500, set()),
        ("a" * 3_800, {"webpush"}),
        ("a" * 4_000, {"webpush", "apns", "fcm"}),
        ("é" * 2_000, {"webpush", "apns", "fcm"}),
        ("'" + '"' * 1_990, {"webpush", "apns"}),  # JSON writes two; Google counts what it is
        ("\u0001" * 700, set()),
    ],
)
def test_a_push_is_measured_as_it_leaves(body: str, channels: set[str]) -> None:
    """Encoded, and with what the exchange adds: whoever would refuse it is named, before anybody is asked."""
    found = of(push_json=json.dumps({"title": "T", "body": body.replace("\u0001", "{{ 'x' }}")}))
    assert {word for line in found.fails for word in ("apns", "fcm", "webpush") if word in line} == channels
    assert all(line.startswith("t/push.json: ") for line in found.fails)


def test_what_some_phones_do_not_get_is_a_warning() -> None:
    """Web push through a bridge: about 2,744 bytes."""
    assert not of(push_json=json.dumps({"title": "x" * 2_000})).warnings
    (line,) = of(push_json=json.dumps({"title": "x" * BRIDGED})).warnings
    assert "2,744" in line


@pytest.mark.parametrize(("length", "fails"), [(1_600, False), (1_601, True)])
def test_a_text_message_has_a_limit(length: int, fails: bool) -> None:
    """1,600 characters; well before, each part is paid for."""
    found = of(sms_txt="x" * length)
    assert bool(found.fails) == fails
    assert found.warnings == ["t/sms.txt: 11 segments, each of which is paid for"]


def test_an_email_is_measured_with_its_links() -> None:
    """What Gmail hides, and a subject that is no line."""
    pieces = '<a href="https://shop.example/">go</a>' * 300 + "x" * (CLIPPED - 40_000)
    assert len(pieces) < CLIPPED
    (line,) = html(pieces).warnings
    assert line.startswith("t/em.html: ")
    assert "Gmail hides" in line
    assert not html("x" * (CLIPPED - 5_000)).warnings
    assert of(em_subject_txt="é" * 500, em_html=LEAVE).fails == [
        "t/em.html: a subject of more than 998 bytes"
    ]


def test_a_push_leads_somewhere() -> None:
    """No script; a picture by https. A path, and the app's own scheme, are not the check's matter."""
    assert of(push_json='{"title": "T", "url": "JavaScript:x()"}').fails == ["t/push.json: url is a script"]
    (line,) = of(push_json='{"title": "T", "image": "http://x.example/i.png"}').warnings
    assert "image without https" in line
    (line,) = of(push_json='{"title": "T", "image": "data:image/png;base64,R0"}').warnings
    assert "image without https" in line
    for url in ("/offers", "myapp://offers", "https://x.example", "{{ values.url }}"):
        found = of(push_json=json.dumps({"title": "T", "url": url, "image": "https://x.example/i.png"}))
        assert (found.fails, found.warnings) == ([], [])


def test_of_two_words_for_one_thing_the_other_is_told() -> None:
    """`url` and `image` go to devices beside `data`, under these names: what `data` says there is lost."""
    (line,) = of(push_json='{"title": "T", "url": "/a", "data": {"url": "/b", "image": "c"}}').warnings
    assert "data has url too" in line
    assert not of(push_json='{"title": "T", "data": {"url": "/b"}}').warnings


# -- text messages


def test_the_price_of_a_text_message_is_told() -> None:
    """Encoding and parts, for each language; and what a typographic character costs."""
    found = of(sms_txt="Hello {{ first_name }}", sms_ja_txt="\u3053\u3093\u306b\u3061\u306f")
    assert found.told[0] == "t/sms.txt: GSM-7, 1 segment"
    assert found.told[1].startswith("t/sms.ja.txt: UCS-2 because of \u3053 ")
    assert not found.warnings
    (line,) = of(sms_txt="It\u2019s here. " * 20).warnings
    assert line == "t/sms.txt: UCS-2 because of \u2019, 4 segments; with plain characters GSM-7, 2 segments"


# -- HTML


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("<b onclick=\"f('{{ name }}')\">x</b>", "a value in onclick, which is a script"),
        ('<a href="javascript:x()">x</a>', "a javascript: link"),
        ('<a href=" JavaScript&colon;x()">x</a>', "a javascript: link"),
        ('<a href="data:text/html,x">x</a>', "a data: link"),
        ('<a href="/offers">x</a>', "a link without https://"),
        ('<a href="offers.html">x</a>', "a link without https://"),
        ('<a href="//x.example/">x</a>', "a link without https://"),
        ('<img src="i.png">', "a link without https://"),
        ('<img src="cid:1">', "a cid: picture"),
        ("{{ name|safe }}", "|safe on what people typed"),
    ],
)
def test_what_a_mail_client_would_not_take_is_named(source: str, what: str) -> None:
    """With file and line; each would fail for somebody."""
    (line,) = dict.fromkeys(line for line in html("\n" + source).fails if what in line)
    assert line.startswith("t/em.html")
    assert "|safe" in what or line.startswith("t/em.html, line 2: ")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ('<img src="data:image/gif;base64,R0">', "a data: picture"),
        ("<script>x</script>", "a <script>: no mail client runs it"),
        ('<a href="myapp://x">x</a>', "a myapp: link"),
        ("<link rel=stylesheet href='https://x.example/a.css'>", "a <link>"),
        ("<style>@import url(https://x.example/a.css);</style>", "an @import"),
        ("<style>a:hover { top: 0 }</style>", "rules with :hover"),
    ],
)
def test_what_would_surprise_is_a_warning(source: str, what: str) -> None:
    """It is sent, and looks otherwise than meant."""
    found = html(source)
    assert not found.fails
    assert any(what in line for line in found.warnings)


@pytest.mark.parametrize(
    "source",
    [
        '<a href="https://x.example/?a={{ name }}">{{ name }}</a>',
        '<a href="{{ values.url }}">x</a><a href="mailto:x@example.org">x</a><a href="tel:+1">x</a>',
        '<a href="#top">x</a><a name="top">x</a><a href="">x</a>',
        '<img alt="{{ name }}" src="https://x.example/i.png" width=1>',
        "{{ values.banner|safe }}",
        "<style>@media (max-width: 600px) { a:hover { top: 0 } }</style>",
        "{% if attributes.x is defined %}{{ attributes.x }}{% endif %}",
        "1 < 2 & 3 > 2 = {{ name }}",
    ],
)
def test_what_is_right_is_not_complained_about(source: str) -> None:
    """Ordinary HTML."""
    found = html(source)
    assert (found.fails, found.warnings) == ([], [])


def test_a_mail_that_nobody_can_leave_is_a_warning() -> None:
    """Marketing needs the link; what a campaign is for, no template knows."""
    (line,) = of(em_subject_txt="s", em_html="<p>x</p>").warnings
    assert "no {{ unsubscribe_url }}" in line


# -- files, values


def test_which_values_are_needed_is_told() -> None:
    """Those without a default that nobody asks whether they are defined."""
    text = "{{ values.code }} {{ values.off|default('5%') }} {{ attributes.city }} "
    text += (
        "{% if values.x is defined %}{{ values.x }}{% endif %}{% if 'y' in values %}{{ values.y }}{% endif %}"
    )
    text += "{{ values.get('z', 'none') }}{% for key, value in values.items() %}{{ key }}{% endfor %}"
    assert of(sms_txt=text).told[-2:] == ["needs values: code", "needs attributes: city"]
    assert needs(Template("t", {"sms.txt": text})) == {"values": {"code"}, "attributes": {"city"}}


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"em.txt": "x"}, "email needs em.subject.txt and em.html"),
        ({"em.html": LEAVE}, "email needs em.subject.txt and em.html"),
        ({"sms.txt": "x", "SMS.txt": "y"}, "says the same place as SMS.txt"),
        ({"sms.txt": "x", "sms.md": "y"}, "sms.md: is no part"),
        ({"push.json": '{"title": "x"}', "push.de.json": '{"data": {"a": "b"}}'}, "push.de.json: in silence"),
    ],
)
def test_a_file_that_would_not_count_is_told(files: dict[str, str], what: str) -> None:
    """Nothing is passed over in silence."""
    assert any(what in line for line in checked(Template("t", files, "t"), BASE).fails)


def test_a_folder_that_is_no_template_is_remembered(tmp_path: Path) -> None:
    """Capitals, blanks, a folder within one; what begins with a dot or an underscore is left out."""
    for name in ("good", "Sale", "two words", "_draft", ".git"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sms.txt").write_text("x")
    (tmp_path / "good" / "de").mkdir()
    templates = load(tmp_path)
    assert templates.names() == ("good",)
    (line,) = checked(templates.get("good"), BASE).fails
    assert line.endswith("/good/de/: is no part: see docs/templates.md for the names")
    assert templates.passed_over == (f"{tmp_path.name}/Sale", f"{tmp_path.name}/two words")


def test_a_silent_push_is_checked_for_those_who_get_it() -> None:
    """No browser: its limit is nobody's."""
    template = Template("t", {"push.json": json.dumps({"data": {"x": "y" * 3_850}})}, "t")
    assert Channel.WEBPUSH not in template.channels()
    assert checked(template, BASE).fails == []
