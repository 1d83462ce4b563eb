"""msgxc template list | check | preview: looking at messages without sending them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msgxc import ids
from msgxc.checking import Checked, checked
from msgxc.cli import completing
from msgxc.cli.running import AsJson, show, tell, values_of, with_exchange
from msgxc.errors import NotFound, WrongInput, WrongTemplate
from msgxc.gsm7 import told
from msgxc.model import Channel, Content, Email, Push, Recipient
from msgxc.render import Templates, load, preview
from msgxc.settings import read_settings

if TYPE_CHECKING:
    from msgxc.wiring import Exchange

app = typer.Typer(
    help="Message templates: list, check, preview. docs/templates.md is the manual.",
    add_completion=False,
    no_args_is_help=True,
)


def _templates() -> Templates:
    return load(read_settings().templates)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every template, on which channels it is offered, and in which languages."""
    templates = _templates()
    rows = [_row(templates, name) for name in templates.names()]
    show(rows, empty="no templates", wide="template", as_json=as_json)


def _row(templates: Templates, name: str) -> dict[str, object]:
    """One that cannot be read is offered nowhere: check says why."""
    try:
        template = templates.get(name)
    except WrongTemplate:
        return {"template": name, "channels": [], "languages": []}
    return {
        "template": template.name,
        "channels": sorted(template.channels()),
        "languages": ["default", *template.languages()],
    }


@app.command("check")
def check_(
    name: Annotated[
        str,
        typer.Argument(
            help="One template; without it, all of them.",
            show_default=False,
            autocompletion=completing.templates,
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Render every part in every language for an example recipient and measure it; ends with 2 when something
    would fail. Warns of what would surprise; tells what text messages cost, and which values are needed."""
    settings = read_settings()
    templates = load(settings.templates)
    names = (name,) if name else templates.names()
    found = {one: _checked(templates, one, settings.public_url) for one in names}
    wrong = [] if name else [f"{folder}: {_NO_NAME}" for folder in templates.passed_over]
    wrong += [line for what in found.values() for line in what.fails]
    if as_json:
        tell([{"template": one, **_found(what)} for one, what in found.items()])
        if wrong:
            raise _problems(wrong)
        return
    for line in wrong:
        typer.echo(line)
    for one, what in found.items():
        if not what.fails:
            typer.echo(f"{one}: fine on {', '.join(sorted(templates.get(one).channels()))}")
        for line in what.warnings:
            typer.echo(f"  warning: {line}")
        for line in what.told:
            typer.echo(f"  {line}")
    if wrong:
        raise _problems(wrong)


def _checked(templates: Templates, name: str, base: str) -> Checked:
    """With what is dangerous or slow in it; one that cannot be read says so, and harms no other."""
    try:
        template = templates.get(name)
    except WrongTemplate as error:
        return Checked(fails=[str(error)])
    found = checked(template, base)
    found.told += [f"{place} (docs/templates.md, Variables)" for place in template.exposed()]
    if not found.fails:
        slow = "its CSS or text is made for each recipient anew (docs/templates.md, Speed)"
        found.told += [f"{file}: {slow}" for file in template.unusual()]
    return found


def _found(what: Checked) -> dict[str, list[str]]:
    return {"fails": list(what.fails), "warnings": list(what.warnings), "told": list(what.told)}


def _problems(wrong: list[str]) -> WrongTemplate:
    return WrongTemplate(f"{len(wrong)} problem{'s' * (len(wrong) > 1)}")


_NO_NAME = "passed over: a template's name has small letters, digits, . _ and - alone"


@app.command("preview")
def preview_(
    name: Annotated[str, typer.Argument(help="The template.", autocompletion=completing.templates)],
    channel: Annotated[Channel, typer.Option(help="The channel.")] = Channel.EMAIL,
    lang: Annotated[str, typer.Option(help="As in de or pt-BR.", show_default="the default")] = "",
    uid: Annotated[
        str, typer.Option(help="A real recipient instead of the example.", show_default=False)
    ] = "",
    value: Annotated[
        list[str] | None, typer.Option(help="A value of the campaign, as in discount=20%. May be repeated.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the email's HTML to this file.", show_default=False)
    ] = None,
) -> None:
    """Show one message as one recipient would get it; nothing is sent."""
    if html is not None and html.is_dir():
        raise WrongInput(f"{html}: a folder, and not a file")
    template = _templates().get(name)
    person = _person(uid) if uid else None
    content = preview(template, channel, lang, person=person, values=values_of(value or []))
    if html is not None:
        html.write_text(_html(content), encoding="utf-8")
        typer.echo(f"wrote {html}")
        return
    typer.echo(_shown(content))


def _person(uid: str) -> Recipient:
    async def found(exchange: Exchange) -> Recipient | None:
        wanted = ids.uid_of(exchange.key, uid)
        return (await exchange.store.directory.get([wanted])).get(wanted)

    person = with_exchange(found)
    if person is None:
        raise NotFound("no such recipient")
    return person


def _html(content: Content) -> str:
    if not isinstance(content, Email):
        raise WrongInput("--html goes with --channel email")
    return content.html


def _shown(content: Content) -> str:
    if isinstance(content, Email):
        return f"Subject: {content.subject}\n\n{content.text}".rstrip()
    if isinstance(content, Push):
        lines = [content.title, content.body, content.url, content.image]
        lines += [f"{key}: {text}" for key, text in content.data.items()]
        return "\n".join(line for line in lines if line)
    return f"{content.text}\n\n({told(content.text)})"
