"""msgxc template list | check | preview: looking at messages without sending them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msgxc import ids
from msgxc.cli.running import show, with_exchange
from msgxc.errors import NotFound, WrongInput, WrongTemplate
from msgxc.model import Channel, Content, Email, Push, Recipient
from msgxc.render import Template, Templates, check, load, preview
from msgxc.settings import read_settings

if TYPE_CHECKING:
    from msgxc.wiring import Exchange

app = typer.Typer(
    help="Message templates: list, check, preview. docs/templates.md is the manual.", add_completion=False
)


def _templates() -> Templates:
    return load(read_settings().templates)


@app.command("list")
def list_() -> None:
    """Every template, on which channels it is offered, and in which languages."""
    templates = _templates()
    found = [templates.get(name) for name in templates.names()]
    show([_row(template) for template in found], empty="no templates", wide="template")


def _row(template: Template) -> dict[str, object]:
    return {
        "template": template.name,
        "channels": ", ".join(sorted(template.channels())) or "none",
        "languages": ", ".join(("default", *template.languages())),
    }


@app.command("check")
def check_(
    name: Annotated[
        str, typer.Argument(help="One template; without it, all of them.", show_default=False)
    ] = "",
) -> None:
    """Render every part in every language for an example recipient; ends with 2 when something would fail."""
    templates = _templates()
    names = (templates.get(name).name,) if name else templates.names()
    problems = [problem for one in names for problem in check(templates.get(one))]
    for problem in problems:
        typer.echo(problem.text)
    if problems:
        raise WrongTemplate(f"{len(problems)} problem{'s' * (len(problems) > 1)}")
    for one in names:
        template = templates.get(one)
        typer.echo(f"{one}: fine on {', '.join(sorted(template.channels()))}")
        for file in template.unusual():
            typer.echo(
                f"  {file}: its CSS or text is made for each recipient anew (docs/templates.md, Speed)"
            )


@app.command("preview")
def preview_(
    name: Annotated[str, typer.Argument(help="The template.")],
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
    template = _templates().get(name)
    person = _person(uid) if uid else None
    content = preview(template, channel, lang, person=person, values=_values(value or []))
    if html is not None:
        html.write_text(_html(content), encoding="utf-8")
        typer.echo(f"wrote {html}")
        return
    typer.echo(_shown(content))


def _values(given: list[str]) -> dict[str, str]:
    wrong = [pair for pair in given if "=" not in pair]
    if wrong:
        raise WrongInput("--value is written name=text")
    return {name: text for name, _, text in (pair.partition("=") for pair in given)}


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
    return content.text
