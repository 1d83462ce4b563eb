"""What a recipient gets: the parts, the languages, and what their own fields cannot do to them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from msgxc.errors import NotFound, WrongSettings, WrongTemplate
from msgxc.model import Channel, Content, Email, Push, Recipient, Sms
from msgxc.render import Links, Template, Templates, check, load, preview, render
from msgxc.render.folder import LOOK_SECONDS
from msgxc.render.limits import SOURCE

LINKS = Links("https://u.example/1", "https://p.example/1")
ANNA = Recipient(uid=UUID(int=1), name="Anna Müller", attributes={"plan": "pro"})

PUSH = '{"title": "Hi {{ first_name }}", "body": "{{ attributes.plan|d(1) }}", "data": {"n": "{{ name }}"}}'
FILES = {
    "push.json": PUSH,
    "sms.txt": "Hello {{ name }}\n",
    "em.subject.txt": "Hello {{ name }}\n",
    "em.html": "<html><body><p>Hello {{ name }}</p></body></html>",
}


def shown(files: dict[str, str], channel: Channel, person: Recipient = ANNA, **values: str) -> Content:
    """The message of a template made of these files."""
    template = Template("t", files, "templates/t")
    return render(
        template, channel, person, values=values, links=LINKS, now=time.process_time, campaign="spring"
    )


def named(name: str, **attributes: str) -> Recipient:
    return Recipient(uid=UUID(int=2), name=name, attributes=attributes)


# -- parts and languages ------------------------------------------------------------------------------------


def test_a_missing_part_is_not_offered() -> None:
    """Channels follow from the files; asking for another one is NotFound."""
    push = {Channel.APNS, Channel.FCM, Channel.WEBPUSH, Channel.WEBSOCKET}
    assert Template("t", FILES).channels() == push | {Channel.SMS, Channel.EMAIL}
    assert Template("t", {"push.json": PUSH}).channels() == push
    assert Template("t", {"sms.txt": "x"}).channels() == {Channel.SMS}
    assert Template("t", {"em.html": "x"}).channels() == frozenset()
    assert Template("t", {"sms.de.txt": "x"}).channels() == frozenset()
    with pytest.raises(NotFound, match="no sms part"):
        shown({"push.json": PUSH}, Channel.SMS)


@pytest.mark.parametrize(
    ("lang", "text"),
    [
        ("", "plain"),
        ("de", "de"),
        ("de-AT", "at"),
        ("de-at", "at"),
        ("de_AT", "at"),
        ("de-CH", "de"),
        ("DE", "de"),
        ("de-AT-1996", "at"),
        ("en", "plain"),
        ("pt-BR", "plain"),
        (" ", "plain"),
        ("-", "plain"),
        ("../de", "plain"),
        ("x" * 300, "plain"),
    ],
)
def test_language_falls_back(lang: str, text: str) -> None:
    """xx-YY, then xx, then the default; however the tag is written."""
    files = {"sms.txt": "plain", "sms.de.txt": "de", "sms.de-AT.txt": "at"}
    person = Recipient(uid=UUID(int=1), lang=lang)
    assert shown(files, Channel.SMS, person) == Sms(text)
    assert Template("t", files).languages() == ("de", "de-at")


def test_text_goes_with_its_html() -> None:
    """German HTML never comes with an English text: without em.de.txt the text is made from em.de.html."""
    files = FILES | {"em.txt": "English", "em.de.html": "<p>Deutsch</p>"}
    german = Recipient(uid=UUID(int=1), lang="de")
    made = shown(files, Channel.EMAIL, german)
    assert isinstance(made, Email)
    assert (made.text, made.html) == ("Deutsch\n", "<p>Deutsch</p>")
    default = shown(files, Channel.EMAIL)
    assert isinstance(default, Email)
    assert default.text == "English\n"


def test_all_variables_are_offered() -> None:
    """Every name that docs/templates.md lists has its value."""
    names = [
        "name",
        "first_name",
        "lang",
        "tz",
        "attributes.plan",
        "values.a",
        "unsubscribe_url",
        "preferences_url",
        "campaign",
    ]
    person = Recipient(
        uid=UUID(int=1), name="Anna Lee", lang="en", tz="UTC", attributes={"plan": "pro", "no": None}
    )
    text = "|".join(f"{{{{ {name} }}}}" for name in names)
    wanted = f"Anna Lee|Anna|en|UTC|pro|A|{LINKS.unsubscribe}|{LINKS.preferences}|spring"
    assert shown({"sms.txt": text}, Channel.SMS, person, a="A") == Sms(wanted)
    assert shown({"sms.txt": "{{ attributes.no|default('-') }}"}, Channel.SMS, person) == Sms("-")
    first = Recipient(uid=UUID(int=1), name="Dr. Anna Lee", attributes={"first_name": "Anna"})
    assert shown({"sms.txt": "{{ first_name }}"}, Channel.SMS, first) == Sms("Anna")


# -- what the recipient's fields cannot do ------------------------------------------------------------------

CODE = "{{ 7*7 }}{% for x in range(9) %}x{% endfor %}{{ ''.__class__ }}{# c #}"


def test_template_code_in_a_field_stays_text() -> None:
    """A recipient who is called {{ 7*7 }} is called {{ 7*7 }} (as far as a name may be long)."""
    assert shown(FILES, Channel.SMS, named(CODE)) == Sms(f"Hello {CODE}")
    push = shown(FILES, Channel.APNS, named("{{7*7}}", plan=CODE))
    assert push == Push("Hi {{7*7}}", CODE, data={"n": "{{7*7}}"})
    email = shown(FILES, Channel.EMAIL, named("{{7*7}}{%x%}"))
    assert isinstance(email, Email)
    assert "{{7*7}}{%x%}" in email.html
    assert "{{7*7}}{%x%}" in email.text


def test_a_quote_in_a_name_breaks_no_json() -> None:
    """push.json is JSON before it is a template."""
    name = 'Bo "The\\Bear" \\" }, "x": "'
    push = shown(FILES, Channel.FCM, named(name))
    assert isinstance(push, Push)
    assert push.data["n"] == name.strip()
    assert push.title == "Hi Bo"


def test_markup_in_a_name_is_escaped_in_html_only() -> None:
    """HTML is escaped, also within attributes; subject and text say what the name is."""
    name = "<script>alert('\"')</script>&amp;"
    files = FILES | {"em.html": '<p title="{{ name }}">{{ name }}</p>'}
    email = shown(files, Channel.EMAIL, named(name))
    assert isinstance(email, Email)
    assert "<script" not in email.html
    assert email.html.count("&lt;script&gt;alert(&#39;&#34;&#39;)&lt;/script&gt;&amp;amp;") == 2
    assert email.subject == f"Hello {name}"
    assert email.text.strip() == name


def test_lines_in_a_name_add_no_header() -> None:
    """CR and LF in a name become blanks: a subject is one line."""
    email = shown(FILES, Channel.EMAIL, named("Anna\r\nBcc: all@example.com\n\n\0x\u2028y"))
    assert isinstance(email, Email)
    assert email.subject == "Hello Anna Bcc: all@example.com x y"


def test_joiners_stay_and_overrides_go() -> None:
    """Emoji families and Persian joiners stay whole; an override cannot turn a sentence around."""
    family, persian = "\U0001f468\u200d\U0001f469\u200d\U0001f467\ufe0f", "می\u200cخواهم"
    assert shown(FILES, Channel.SMS, named(f"{family} {persian}")) == Sms(f"Hello {family} {persian}")
    assert shown(FILES, Channel.SMS, named("a\u202egpj.exe\u2066b\u2069")) == Sms("Hello agpj.exeb")
    assert shown(FILES, Channel.SMS, named("نورة")) == Sms("Hello نورة")


def test_lone_surrogates_are_replaced_everywhere() -> None:
    """What UTF-8 cannot hold never leaves: in fields, in values, and in push.json itself."""
    person = named("A\ud83dB \ud83d\ude00", plan="\udfff")
    push_json = '{"title": "\\ud83d{{ name }}", "body": "{{attributes.plan}}{{values.v}}"}'
    files = FILES | {"push.json": push_json}
    push = shown(files, Channel.APNS, person, v="\ud800")
    assert push == Push("\ufffdA\ufffdB \U0001f600", "\ufffd\ufffd")
    for channel in (Channel.SMS, Channel.EMAIL):
        json.dumps(str(shown(files, channel, person)), ensure_ascii=False).encode()


def test_long_names_are_cut_between_letters() -> None:
    """300 characters: cut at 100, never within an emoji; the message is sent."""
    assert shown(FILES, Channel.SMS, named("x" * 300)) == Sms("Hello " + "x" * 97 + "...")
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    cut = shown(FILES, Channel.SMS, named(family * 60))
    assert isinstance(cut, Sms)
    assert cut.text == "Hello " + family * 19 + "..."
    marks = shown(FILES, Channel.SMS, named("e\u0301" * 150))
    assert marks == Sms("Hello " + "\u00e9" * 48 + "...")  # a text message leaves composed (NFC)


# -- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "channel", "error"),
    [
        ({"sms.txt": "a\nb\n{{ nope }}"}, Channel.SMS, "t/sms.txt, line 3: 'nope' is undefined"),
        ({"sms.txt": "a\n{% if %}"}, Channel.SMS, "t/sms.txt, line 2: Expected an expression"),
        ({"sms.txt": "{{ '' }}\n"}, Channel.SMS, "t/sms.txt: the text is empty"),
        ({"push.json": '{"title": 1}'}, Channel.APNS, "t/push.json, line 1: title must be text"),
        (
            {"push.json": '{\n"titel": "x"}'},
            Channel.APNS,
            "t/push.json, line 2: 'titel' is no key of push.json; did you mean title?",
        ),
        ({"push.json": '{\n"title": "x",}'}, Channel.APNS, "t/push.json, line 2: "),
        ({"push.json": '{"title": "x", "title": "y"}'}, Channel.APNS, "t/push.json: 'title' stands twice"),
        ({"push.json": '{"title": "{{ nope }}"}'}, Channel.APNS, "t/push.json, line 1: 'nope'"),
        (
            {"push.json": '{"title":"x",\n"data":{\n"k": "{{ 1/0 }}"}}'},
            Channel.APNS,
            "t/push.json, line 3: a value",
        ),
        (
            {"push.json": '{"title":"x","data":["y"]}'},
            Channel.APNS,
            "t/push.json, line 1: data must be an object",
        ),
        ({"push.json": '{"title":"x","data":{"k":{}}}'}, Channel.APNS, "t/push.json, line 1: k must be text"),
        ({"push.json": '["x"]'}, Channel.APNS, "t/push.json: must be an object"),
        ({"push.json": "[" * 100_000}, Channel.APNS, "t/push.json"),
        ({"push.json": '{"title": " "}'}, Channel.APNS, "t/push.json: neither title, body nor data"),
        (
            FILES | {"em.html": "<style>p{}</style>\n<p>\n{{ nope }}</p>"},
            Channel.EMAIL,
            "t/em.html, line 3: 'nope'",
        ),
        (FILES | {"em.subject.txt": "{{ '' }}"}, Channel.EMAIL, "t/em.subject.txt: the subject is empty"),
        (FILES | {"em.txt": "\n{{ nope }}"}, Channel.EMAIL, "t/em.txt, line 2: 'nope'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_name_file_and_line(files: dict[str, str], channel: Channel, error: str) -> None:
    """An operator can go straight to the place."""
    with pytest.raises(WrongTemplate) as caught:
        shown(files, channel)
    assert str(caught.value).startswith(f"templates/{error}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ name|float }}",
        "{{ name|int }}",
        "{{ attributes[name] }}",
        "{{ attributes[attributes.mail] }}",
        "{{ values[name] }}",
        "{{ name() }}",
        "{{ name.nope }}",
        "{{ name + 1 }}",
        "{% for a, b in name %}{% endfor %}",
        "{{ {'a': 1}[name] }}",
        "{{ name|round }}",
    ],
)
def test_errors_hold_nothing_of_the_recipient(source: str) -> None:
    """The text of an error goes into logs and artifacts: it names code, never a value."""
    person = named("Secretname", mail="secret@example.com")
    with pytest.raises(WrongTemplate) as caught:
        shown({"sms.txt": source}, Channel.SMS, person)
    assert "ecret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# -- the folder, check and preview --------------------------------------------------------------------------


def test_folder_is_read(tmp_path: Path) -> None:
    """Each folder is a template; notes and hidden files are passed over; a BOM is no text."""
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "sms.txt").write_bytes(b"\xef\xbb\xbfHello")
    (tmp_path / "hello" / "README.md").write_text("notes")
    (tmp_path / "_drafts").mkdir()
    (tmp_path / "notes.txt").write_text("notes")
    templates = load(tmp_path)
    assert templates.names() == ("hello",)
    assert preview(templates.get("hello"), Channel.SMS) == Sms("Hello")
    with pytest.raises(NotFound, match="there are: hello"):
        templates.get("nope")
    with pytest.raises(WrongSettings, match="MSGXC_TEMPLATES"):
        load(tmp_path / "nope")
    (tmp_path / "hello" / "sms.de.txt").write_bytes(b"ok\nM\xfcller")
    with pytest.raises(WrongTemplate, match=r"sms\.de\.txt, line 2: not UTF-8"):
        load(tmp_path).get("hello")


@pytest.fixture
def ahead(tmp_path: Path) -> tuple[Templates, Callable[[], None]]:
    """The templates of a folder, with one of them, and what lets the time pass until the next look."""
    said(tmp_path, "hello", "one")
    now = [0.0]

    def wait() -> None:
        now[0] += LOOK_SECONDS

    return Templates(tmp_path, clock=lambda: now[0]), wait


def said(folder: Path, name: str, text: str) -> None:
    """A template of one file."""
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "sms.txt").write_text(text)


def test_a_template_is_what_its_files_are_now(
    tmp_path: Path, ahead: tuple[Templates, Callable[[], None]]
) -> None:
    """Added, changed, given another language, removed, made again: known at the next look."""
    templates, wait = ahead
    first = templates.get("hello")
    said(tmp_path, "hello", "another text")
    assert templates.get("hello") is first, "nobody looks at the files each time"
    wait()
    assert preview(templates.get("hello"), Channel.SMS) == Sms("another text")
    (tmp_path / "hello" / "sms.de.txt").write_text("Hallo")
    wait()
    assert templates.get("hello").languages() == ("de",)
    said(tmp_path, "new", "new")
    assert templates.names() == ("hello", "new")
    assert preview(templates.get("new"), Channel.SMS) == Sms("new")
    shutil.rmtree(tmp_path / "hello")
    wait()
    assert templates.names() == ("new",)
    with pytest.raises(NotFound, match="there are: new"):
        templates.get("hello")
    said(tmp_path, "hello", "once more")
    assert preview(templates.get("hello"), Channel.SMS) == Sms("once more")


def test_what_has_not_changed_is_not_read_again(ahead: tuple[Templates, Callable[[], None]]) -> None:
    """The same object, with all that was compiled of it."""
    templates, wait = ahead
    first = templates.get("hello")
    for _ in range(3):
        wait()
        assert templates.get("hello") is first


@pytest.mark.parametrize("wrong", ["bytes", "link", "length"])
def test_a_template_that_cannot_be_read_harms_no_other(
    tmp_path: Path, ahead: tuple[Templates, Callable[[], None]], wrong: str
) -> None:
    """It says so, each time; the others are there, and so is it once it is mended."""
    templates, wait = ahead
    said(tmp_path, "other", "other")
    file = tmp_path / "hello" / "sms.txt"
    file.unlink()
    if wrong == "bytes":
        file.write_bytes(b"M\xfcller")
    elif wrong == "link":
        file.symlink_to("/etc/hostname")
    else:
        file.write_text("x" * (4 * SOURCE + 1))
    for _ in range(2):
        with pytest.raises(WrongTemplate, match=r"sms\.txt"):
            templates.get("hello")
        assert preview(templates.get("other"), Channel.SMS) == Sms("other")
        assert templates.names() == ("hello", "other")
    file.unlink()
    said(tmp_path, "hello", "mended")
    wait()
    assert preview(templates.get("hello"), Channel.SMS) == Sms("mended")


@pytest.mark.parametrize("name", ["..", "hello/../hello", "", ".", "Hello", "hello\n"])
def test_no_name_leads_out_of_the_folder(ahead: tuple[Templates, Callable[[], None]], name: str) -> None:
    """What is no template's name is not looked for."""
    with pytest.raises(NotFound):
        ahead[0].get(name)


def test_check_finds_what_would_fail() -> None:
    """Typing errors in names of files and variables, and languages without a default; not the use of data."""
    files = {
        "push.json": '{"title": "{{ attributes.visits + 1 }} {{ values.discount|int }} {{ values[\'x\'] }}"}',
        "push.de.json": '{"title": "{{ frist_name }}"}',
        "em.htm": "x",
        "sms.de.txt": "x",
        "em.html": "x",
    }
    assert [problem.text for problem in check(Template("t", files, "templates/t"))] == [
        "templates/t/em.htm: is no part: see docs/templates.md for the names",
        "templates/t/sms.de.txt: has no default (the same name without a language) beside it",
        "templates/t/em: email needs em.subject.txt and em.html",
        "templates/t/push.de.json, line 1: 'frist_name' is undefined",
    ]
    assert check(Template("t", {}, "templates/t"))[0].text == "templates/t: no part at all"


def test_compiled_reads_everything_now() -> None:
    """`compiled` answers the template itself, or the first part that cannot be read."""
    good = Template("t", FILES)
    assert good.compiled() is good
    with pytest.raises(WrongTemplate, match=r"sms\.de\.txt"):
        Template("t", FILES | {"sms.de.txt": "{% if %}"}).compiled()


def test_shipped_templates_are_good() -> None:
    """The templates that come with the project: five languages, no problem, CSS and text made once."""
    templates = load(Path(__file__).resolve().parents[2] / "templates")
    assert templates.names() == ("security-alert", "spring-sale", "welcome")
    for name in templates.names():
        template = templates.get(name)
        assert template.languages() == ("ar", "de", "fr", "ja")
        assert check(template) == []
        assert template.unusual() == ()
        for lang in ("", *template.languages()):
            email = preview(template, Channel.EMAIL, lang)
            assert isinstance(email, Email)
            assert ('dir="rtl"' in email.html) == (lang == "ar")
            assert "<style>@media" in email.html
            assert 'style="' in email.html
            assert "{" not in email.text + email.subject
            nobody = render(
                template,
                Channel.EMAIL,
                Recipient(uid=UUID(int=1), lang=lang),
                values={},
                links=LINKS,
                now=time.process_time,
            )
            assert isinstance(nobody, Email)
            if name == "spring-sale":
                assert LINKS.unsubscribe in nobody.html
                assert LINKS.unsubscribe in nobody.text


# -- what is the same for everybody -------------------------------------------------------------------------


def test_what_is_the_same_for_everybody_is_rendered_once() -> None:
    """A text that reads only values and campaign is constant for a campaign; another campaign's differs."""
    files = {"push.json": '{"title": "{{ values.code }} {{ campaign }}", "body": "{{ name }}"}'}
    template = Template("t", files, "templates/t")

    def one(person: Recipient, campaign: str, **values: str) -> Content:
        return render(
            template,
            Channel.APNS,
            person,
            values=values,
            links=LINKS,
            now=time.process_time,
            campaign=campaign,
        )

    for person, campaign, code in (
        (ANNA, "a", "X"),
        (named("Bo"), "a", "X"),
        (ANNA, "b", "X"),
        (ANNA, "a", "Y"),
    ):
        made = one(person, campaign, code=code)
        assert isinstance(made, Push)
        assert (made.title, made.body) == (f"{code} {campaign}", person.name)
    with pytest.raises(WrongTemplate, match="'code' is undefined"):
        one(ANNA, "a")


def test_links_are_asked_for_where_a_message_holds_one() -> None:
    """The links of a message that shows none are never made."""

    def never() -> Links:
        raise AssertionError

    for text, links in (("Hi {{ name }}", never), ("{{ unsubscribe_url }}", lambda: LINKS)):
        made = render(
            Template("t", {"sms.txt": text}, "t"),
            Channel.SMS,
            ANNA,
            values={},
            links=links,
            now=time.process_time,
        )
        assert made == Sms(
            text.replace("{{ name }}", ANNA.name).replace("{{ unsubscribe_url }}", LINKS.unsubscribe)
        )
