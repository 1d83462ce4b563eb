"""msgxc people …"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from msgxc import ids
from msgxc.cli import completing
from msgxc.cli.running import AsJson, now_of, show, tell, with_exchange
from msgxc.errors import NotFound, WrongInput
from msgxc.expression import parse
from msgxc.model import MUTE, Channel, Recipient
from msgxc.store.choices import Choices

if TYPE_CHECKING:
    from msgxc.people import ImportSummary
    from msgxc.wiring import Exchange

app = typer.Typer(help="People in and out, and what is known of one of them.", no_args_is_help=True)

UidArgument = Annotated[str, typer.Argument(help="A uid, or the foreign id that was imported.")]
CohortOption = Annotated[
    str, typer.Option(help="Only the people of this cohort.", autocompletion=completing.cohorts)
]
WhereOption = Annotated[str, typer.Option(help="Only those for whom this holds, as in 'lang = \"de\"'.")]


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A .csv or .jsonl file, also with .gz.")],
    region: Annotated[
        str | None, typer.Option(help="Where phone numbers without + are, as in DE.", show_default=False)
    ] = None,
    refused: Annotated[
        Path | None, typer.Option(help="Where refused rows go.", show_default="FILE.refused.csv")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import people from a file; docs/audience.md has its columns. May be repeated."""
    from msgxc.people import ImportSummary, import_people

    rejects = refused or file.with_name(file.name + ".refused.csv")
    last = ImportSummary()

    async def work(exchange: Exchange) -> ImportSummary:
        def told(summary: ImportSummary, fraction: float) -> None:
            nonlocal last
            last = summary
            bar.update(task, completed=fraction, text=summary.told())

        with _bar() as bar:
            task = bar.add_task("", total=1.0, text="")
            return await import_people(
                file,
                exchange.store,
                exchange.key,
                now=now_of(exchange),
                refused=rejects,
                region=region,
                progress=told,
                dry_run=dry_run,
            )

    try:
        _tell(with_exchange(work), rejects, dry_run, as_json)
    except KeyboardInterrupt:
        typer.echo(f"msgxc: stopped after {last.told()}; the same import may be started again", err=True)
        raise typer.Exit(130) from None


def _bar() -> Progress:
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.fields[text]}"))
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _tell(summary: ImportSummary, rejects: Path, dry_run: bool, as_json: bool) -> None:
    if as_json:
        counts = ("rows", "imported", "updated", "unchanged", "refused", "suppressed", "kept")
        found = {word: getattr(summary, word) for word in counts}
        tell({**found, "file": str(rejects) if summary.refused else None})
        if summary.refused and summary.refused == summary.rows:
            raise WrongInput("every row was refused")
        return
    typer.echo(summary.told() + (" (dry run: nothing was written)" if dry_run else ""))
    if summary.suppressed:
        typer.echo(f"{summary.suppressed:,} addresses suppressed")
    if summary.kept:
        typer.echo(f"{summary.kept:,} consents stay withdrawn, by their people's own word (docs/audience.md)")
    if summary.refused:
        worst = sorted(summary.reasons.items(), key=lambda item: -item[1])[:10]
        rows = [{"rows": n, "column": column, "reason": reason} for (column, reason), n in worst]
        show(rows, empty="")
        typer.echo(f"refused rows, with line and reason: {rejects}")
        if summary.refused == summary.rows:
            raise WrongInput("every row was refused")


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="A .csv or .jsonl file, also with .gz.")],
    cohort: CohortOption = "",
    where: WhereOption = "",
    spreadsheet: Annotated[
        bool, typer.Option("--spreadsheet", help="A .csv for people to open: no cell is run as a formula.")
    ] = False,
) -> None:
    """Export everybody, a cohort, or those for whom an expression holds."""
    from msgxc.people import export_people, select

    async def work(exchange: Exchange) -> int:
        chosen = select(
            exchange.store, now_of(exchange), cohort=cohort, where=parse(where) if where else None
        )
        return await export_people(chosen, exchange.store, exchange.key, file, spreadsheet=spreadsheet)

    typer.echo(f"{with_exchange(work):,} people exported to {file}: it holds their addresses")


@app.command("show")
def show_(
    uid: UidArgument,
    reveal: Annotated[bool, typer.Option("--reveal", help="Also the name and the addresses.")] = False,
    as_json: AsJson = False,
) -> None:
    """What is known of one person: counts and kinds, unless --reveal."""

    async def fields(exchange: Exchange) -> dict[str, object]:
        return await _fields(exchange, await _person(exchange, uid), reveal)

    async def work(exchange: Exchange) -> dict[str, str]:
        person = await _person(exchange, uid)
        facts = _revealed(person) if reveal else _kinds(person)
        own = (await exchange.store.directory.choices([person.uid])).get(person.uid) or Choices()
        online = {"online, all in all": f"{await _online(exchange, person.uid):,} s"}
        return {**_facts(person), **online, **_chosen(own), **facts, **await _groups(exchange, person)}

    if as_json:
        tell(with_exchange(fields))
        return
    for name, value in with_exchange(work).items():
        typer.echo(f"{name:12} {value}")


@app.command("erase")
def erase(
    uid: UidArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Remove all that is personal of one person, and what they said, for good; also of one without a record.
    Their tokens end, and their uid is refused until `readmit`."""

    from msgxc.privacy import erasure

    async def work(exchange: Exchange) -> erasure.Erased:
        return await erasure.erase(exchange, ids.uid_of(exchange.key, uid))

    if not yes:
        typer.confirm("Erase this person for good?", abort=True)
    done = with_exchange(work)
    typer.echo("erased" if done.record else "erased; there was no record of them")
    typer.echo(
        f"{done.messages:,} messages blanked or no longer naming them ({done.stopped:,} had not left), "
        f"staff of {done.threads:,} threads"
    )
    typer.echo("the ledger keeps uids, counts and codes: they tell nobody who it was (docs/audience.md)")


@app.command("readmit")
def readmit(uid: UidArgument) -> None:
    """Let somebody who was erased be enlisted, imported and subscribed again, as somebody new."""
    from msgxc.privacy import erasure

    with_exchange(lambda exchange: erasure.readmit(exchange, ids.uid_of(exchange.key, uid)))
    typer.echo("readmitted")


async def _person(exchange: Exchange, text: str) -> Recipient:
    uid = ids.uid_of(exchange.key, text)
    found = await exchange.store.directory.get([uid])
    if uid not in found:
        raise NotFound("there is no such person")
    return found[uid]


async def _fields(exchange: Exchange, person: Recipient, reveal: bool) -> dict[str, object]:
    """The same for programs: these names stay."""
    own = (await exchange.store.directory.choices([person.uid])).get(person.uid) or Choices()
    found: dict[str, object] = {
        "uid": str(person.uid),
        "lang": person.lang or None,
        "tz": person.tz or None,
        "channels": None if person.channels is None else sorted(person.channels),
        "consents": sorted(person.consents),
        "last_seen": person.last_seen,
        "online_total": await _online(exchange, person.uid),
        "created": person.created,
        "given": dict(own.given),
        "withdrawn": dict(own.withdrawn),
        "has": [name for name in ("name", "email", "cell") if getattr(person, name)],
        "devices": Counter(device.channel.value for device in person.devices),
        "attributes": sorted(person.attributes),
        "suppressed": await _suppressed(exchange, person),
        "cohorts": await _cohorts(exchange, person.uid),
    }
    if reveal:
        found |= {name: getattr(person, name) or None for name in ("name", "email", "cell")}
        found["tokens"] = [
            {"channel": one.channel.value, "token": one.token, "registered": one.registered}
            for one in person.devices
        ]
        found["attributes"] = dict(person.attributes)
    return found


def _facts(person: Recipient) -> dict[str, str]:
    chosen = "all" if person.channels is None else ", ".join(sorted(person.channels)) or f"{MUTE} (none)"
    return {
        "uid": str(person.uid),
        "lang": person.lang,
        "tz": person.tz,
        "channels": chosen,
        "consents": ", ".join(sorted(person.consents)) or "none",
        "last seen": f"{person.last_seen:%Y-%m-%d %H:%M} UTC" if person.last_seen else "never",
        "created": f"{person.created:%Y-%m-%d %H:%M} UTC" if person.created else "unknown",
    }


def _chosen(own: Choices) -> dict[str, str]:
    """What the person chose by themself, and since when."""
    told = [
        f"{item} {'given' if own.holds(item) else 'withdrawn'} {max(times):%Y-%m-%d %H:%M} UTC"
        for item in sorted({*own.given, *own.withdrawn})
        if (times := [at[item] for at in (own.given, own.withdrawn) if item in at])
    ]
    return {"own choices": ", ".join(told) or "none"}


def _kinds(person: Recipient) -> dict[str, str]:
    devices = Counter(device.channel.value for device in person.devices)
    return {
        "has": ", ".join(name for name in ("name", "email", "cell") if getattr(person, name)) or "no address",
        "devices": ", ".join(f"{n} {kind}" for kind, n in devices.items()) or "none",
        "attributes": ", ".join(sorted(person.attributes)) or "none",
    }


def _revealed(person: Recipient) -> dict[str, str]:
    shown = {name: getattr(person, name) for name in ("name", "email", "cell")}
    for number, device in enumerate(person.devices, 1):
        shown[f"device {number}"] = f"{device.channel} {device.token} ({device.registered:%Y-%m-%d})"
    return {**shown, **{f"attr.{name}": str(value) for name, value in person.attributes.items()}}


async def _suppressed(exchange: Exchange, person: Recipient) -> dict[str, str]:
    """Of which channels the person's address is suppressed, and why."""
    addresses = {Channel.EMAIL: person.email, Channel.SMS: person.cell}
    hashes = {ids.address_hash(exchange.key, c, a): c for c, a in addresses.items() if a}
    blocked = await exchange.store.directory.suppressed(list(hashes))
    return {hashes[address].value: why for address, why in blocked.items()}


async def _groups(exchange: Exchange, person: Recipient) -> dict[str, str]:
    blocked = await _suppressed(exchange, person)
    return {
        "suppressed": ", ".join(f"{channel} ({why})" for channel, why in blocked.items()) or "no",
        "cohorts": ", ".join(await _cohorts(exchange, person.uid)) or "none",
    }


async def _online(exchange: Exchange, uid: UUID) -> int:
    """Seconds for which they have been connected, all in all."""
    return (await exchange.store.directory.online([uid])).get(uid, 0) // 1000


async def _cohorts(exchange: Exchange, uid: UUID) -> list[str]:
    cohorts = exchange.store.cohorts
    return [name for name in await cohorts.sizes() if await cohorts.members(name, [uid])]
