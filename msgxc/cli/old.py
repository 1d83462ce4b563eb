"""msgxc import-old"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from msgxc.cli.running import AsJson, show, tell, with_exchange
from msgxc.errors import WrongInput

if TYPE_CHECKING:
    from msgxc.old.reading import Source
    from msgxc.old.report import Report
    from msgxc.wiring import Exchange

#: So many reasons are shown; the report has all.
SHOWN = 40


def import_old(
    folder: Annotated[
        Path | None,
        typer.Argument(help="A folder with a file for each table: users.jsonl, mthreads.jsonl …"),
    ] = None,
    cassandra: Annotated[
        str, typer.Option(help="Instead: HOST[:PORT] of the old system's Cassandra.", show_default=False)
    ] = "",
    keyspace: Annotated[str, typer.Option(help="The old system's keyspace, with --cassandra.")] = "sfpl",
    username: Annotated[
        str, typer.Option(help="Its login there; the password is asked for.", show_default=False)
    ] = "",
    region: Annotated[
        str | None, typer.Option(help="Where phone numbers without + are, as in DE.", show_default=False)
    ] = None,
    report: Annotated[Path, typer.Option(help="Where the full report goes (CSV).")] = Path(
        "import-old.report.csv"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, write nothing but the report.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take the data of the system before this one: people, cohorts, threads and messages. May be repeated.

    docs/coming-from-the-old-system.md says what becomes of each column.
    """
    if (folder is None) == (not cassandra):
        raise WrongInput("name the folder, or --cassandra HOST[:PORT]")
    password = typer.prompt("Password", hide_input=True) if username else ""
    last: Report | None = None

    async def work(exchange: Exchange) -> Report:
        from msgxc.old.importing import import_old as taken
        from msgxc.old.reading import Folder

        def told(made: Report, fraction: float | None) -> None:
            nonlocal last
            last = made
            bar.update(task, completed=fraction or 0, total=None if fraction is None else 1, text=made.told())

        source: Source
        if folder is not None:
            source = Folder(folder)
        else:
            from msgxc.old.keyspace import open_keyspace

            source = await open_keyspace(cassandra, keyspace, username, password)
        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[text]}"))
        console = Console(stderr=True)
        try:
            with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
                task = bar.add_task("", total=1.0, text="")
                return await taken(
                    exchange, source, report=report, region=region, progress=told, dry_run=dry_run
                )
        finally:
            await source.close()

    try:
        _tell(with_exchange(work), dry_run, as_json)
    except KeyboardInterrupt:
        how_far = last.told() if last else "nothing"
        typer.echo(f"msgxc: stopped after {how_far}; the same import may be started again", err=True)
        raise typer.Exit(130) from None


def _tell(made: Report, dry_run: bool, as_json: bool) -> None:
    tables = [{"table": name, **told.counts()} for name, told in made.tables.items()]
    reasons = [
        {"rows": n.rows, "table": table, "column": r.column, "what": str(r.kind), "why": r.reason}
        | {"first": n.first}
        for (table, r), n in sorted(made.reasons.items(), key=lambda item: -item[1].rows)
    ]
    if as_json:
        found = {"tables": tables, "reasons": reasons, "notes": made.notes, "report": str(made.path)}
        tell({**found, "dry_run": dry_run})
        return
    typer.echo(made.told() + (" (dry run: nothing was written)" if dry_run else ""))
    show(tables, empty="", wide="table")
    typer.echo("")
    show(reasons[:SHOWN], empty="")
    for note in made.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"all of it, with file, line, column and reason: {made.path}")
