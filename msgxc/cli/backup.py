"""msgxc backup, msgxc restore"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msgxc import ids
from msgxc.cli.running import AsJson, show, tell
from msgxc.errors import Conflict, WrongInput
from msgxc.settings import Settings, read_settings

if TYPE_CHECKING:
    from msgxc.store.sqlite.carrying import Carried

CASSANDRA = "the store is Cassandra: it is backed up by its own snapshots, see docs/backup.md"
Force = Annotated[bool, typer.Option("--force", help="Also over a file that is there.")]


def backup(
    file: Annotated[Path, typer.Argument(help="Where to put it; beside it FILE.key.")],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make a backup of the embedded store, whoever works with it meanwhile: FILE, and its key in FILE.key."""
    from msgxc.store.sqlite.backup import back_up
    from msgxc.wiring import open_exchange

    settings = _embedded(read_settings())
    key = _key_of(file)
    if folder := next((path for path in (file, key) if path.is_dir()), None):
        raise WrongInput(f"{folder}: a folder, and not a file")
    taken = [str(path) for path in (file, key) if path.exists()]
    if taken and not force:
        raise Conflict(f"{' and '.join(taken)} would be replaced: another name, or --force", "exists")

    async def work() -> None:
        async with open_exchange(settings) as exchange:
            await exchange.store.accept()  # what comes after the backup is newer than the backup
            at = datetime.fromtimestamp(exchange.clock(), UTC)
            await asyncio.to_thread(back_up, settings.store_file, file, at)

    asyncio.run(work())
    in_settings = bool(settings.secret_key.get_secret_value())
    if in_settings:
        key.unlink(missing_ok=True)
    else:
        shutil.copyfile(settings.home / "secret.key", _private(key))
    size = file.stat().st_size
    if as_json:
        tell({"file": str(file), "bytes": size, "key": None if in_settings else str(key)})
        return
    typer.echo(f"{file}: {size:,} bytes")
    typer.echo(
        "Its key is MSGXC_SECRET_KEY, and not in it: keep that, too. Without it the backup is of no use."
        if in_settings
        else f"{key}: its key. Keep both, apart from each other; without the key the backup is of no use."
    )


def restore(
    file: Annotated[
        Path | None, typer.Argument(help="A backup. Without one: what is there was restored by hand.")
    ] = None,
    force: Force = False,
    send_owed: Annotated[
        bool, typer.Option("--send-owed", help="Send messages that were owed, all the same.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the store's place, while nothing runs. What was under way then waits for you."""
    from msgxc.operations.restoring import Restored, restored
    from msgxc.wiring import apply_schema, open_exchange

    settings = read_settings()
    back: dict[str, object] = {"store": None, "made": None, "kept": None, "carried": None}
    if file is not None:
        back = _put_back(_embedded(settings), file, force, as_json)
        asyncio.run(apply_schema(settings))

    async def work() -> Restored:
        async with open_exchange(settings, restored=True) as exchange:
            return await restored(exchange, send_owed=send_owed)

    done = asyncio.run(work())
    owed = sum(done.owed.values())
    rows = [
        {"campaign": held.name, "people": held.people, "not_sent_to_by_then": held.left} for held in done.held
    ]
    if as_json:
        tell({**back, "erased": done.erased, "owed": owed, "to_come": done.kept, "campaigns": rows})
        return
    if done.erased:
        typer.echo(f"{done.erased:,} people were in it who have been erased: they are erased again.")
    if done.owed:
        typer.echo(f"{owed:,} messages were owed and are not sent; they stay in their threads.")
    if done.kept:
        typer.echo(f"{done.kept:,} messages are still to come, at their times.")
    unchosen = [row | {"people": "not chosen yet"} if row["people"] is None else row for row in rows]
    show(unchosen, empty="No campaign was under way.", wide="campaign")
    if rows:
        typer.echo(
            "They stand still: `msgxc campaigns resume NAME` goes on, and whoever had it since gets it again."
        )
    if not back["carried"]:
        typer.echo("Who has unsubscribed, said STOP or was erased since is not known here: docs/backup.md.")


def _put_back(settings: Settings, file: Path, force: bool, as_json: bool) -> dict[str, object]:
    """The backup, and with it its key, in the place of what is there, which is kept. Answers store, made,
    kept and carried; without `as_json` it is told at once, whatever comes of the rest."""
    from msgxc.store.sqlite.backup import look, put_back

    store, own = settings.store_file, settings.home / "secret.key"
    found = look(file)
    if store.exists() and not force:
        raise Conflict(f"there is a store: --force puts the backup in its place, and keeps {store}", "exists")
    source = _key_for(settings, own, _key_of(file), found.key)
    done = put_back(file, store, found.key)
    if source and source != own:
        if own.exists():
            own.rename(own.with_name(f"{own.name}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}"))
        shutil.copyfile(source, _private(own))
    if not as_json:
        made = f"made {found.made:%Y-%m-%d %H:%M} UTC" if found.made else "a copy"
        typer.echo(f"{store}: {made}" + (f"; what was there is {done.kept}" if done.kept else ""))
        if done.carried:
            typer.echo(_of(done.carried))
        elif done.kept:
            typer.echo(f"Nothing of that is carried over: {done.why}.")
    carried = asdict(done.carried) if done.carried else None
    return {"store": str(store), "made": found.made, "kept": done.kept, "carried": carried}


def _of(carried: Carried) -> str:
    """What the backup did not know, and the store that it replaces did."""
    return (
        f"Carried over from that: {carried.suppressions:,} suppressed addresses, what {carried.choices:,} "
        f"people gave or took back, {carried.erased:,} erasures, {carried.revocations:,} revocations, "
        f"{carried.canceled:,} canceled or recalled."
    )


def _key_for(settings: Settings, own: Path, beside: Path, fingerprint: bytes) -> Path | None:
    """Where the key is that a backup was made with; None: in the settings. Raises WrongInput."""
    given = settings.secret_key.get_secret_value().encode()
    for path in (None,) if given else (own, beside):
        key = given if path is None else path.read_bytes() if path.exists() else b""
        if key and (not fingerprint or ids.fingerprint(key) == fingerprint):
            return path
    where = "MSGXC_SECRET_KEY is another one" if given else f"neither {own} nor {beside} is it"
    raise WrongInput(f"the key is needed that the backup was made with: {where}")


def _embedded(settings: Settings) -> Settings:
    if settings.store != "sqlite":
        raise WrongInput(CASSANDRA)
    return settings


def _key_of(file: Path) -> Path:
    return file.with_name(file.name + ".key")


def _private(path: Path) -> Path:
    """The file, empty, and nobody else's to read."""
    path.unlink(missing_ok=True)
    path.touch(0o600)
    return path
