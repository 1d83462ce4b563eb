"""People out: a file that `import` reads back to the same records, suppressions and cohorts."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO, cast
from uuid import UUID

from msgxc import ids
from msgxc.errors import WrongInput
from msgxc.model import MUTE, Channel, Device, Recipient
from msgxc.store.ports import Store

Write = Callable[[dict[str, Any]], object]
COLUMNS = (
    *("uid", "name", "email", "cell", "lang", "tz", "channels", "consents", "last_seen", "created"),
    *("online_total", "suppressed", "cohorts", "apns", "fcm", "webpush", "attributes"),
)

#: What begins a formula (full width too, as spreadsheets read it), at the start or after the end of a cell.
_FORMULA = re.compile(r"(\A|[;,\t\r\n]\s*)([=+\-@\uff1d\uff0b\uff0d\uff20\t\r])")


async def export_people(
    people: AsyncIterator[list[Recipient]],
    store: Store,
    key: bytes,
    file: Path,
    *,
    progress: Callable[[int], None] | None = None,
    spreadsheet: bool = False,
) -> int:
    """Write these people (as selecting.select yields them) to a .csv or .jsonl file, also with .gz.

    `spreadsheet`: a CSV file in which no cell is a formula, for people to open and not to be imported again.
    Answers how many. The file appears when it is whole; only its owner may read it. Raises WrongInput for
    another suffix or a folder that cannot be written.
    """
    written = 0
    with _opened(file) as out:
        write = _writer(file, out, spreadsheet)
        async for page in people:
            for record in await _records(page, store, key):
                write(record)
            written += len(page)
            if progress is not None:
                progress(written)
    return written


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    if file.is_dir():
        raise WrongInput(f"{file}: a folder, and not a file")
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise WrongInput(f"{file}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as raw:
            packed = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if _zipped(file) else raw
            with io.TextIOWrapper(cast(Any, packed), encoding="utf-8", newline="") as text:
                yield text
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)


def _zipped(file: Path) -> bool:
    return file.suffix == ".gz"


def _writer(file: Path, out: TextIO, spreadsheet: bool) -> Write:
    kind = file.with_suffix("").suffix if _zipped(file) else file.suffix
    if spreadsheet and kind != ".csv":
        raise WrongInput(f"{file}: for a spreadsheet the name ends in .csv, or .csv.gz")
    if spreadsheet:
        quoted = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
        quoted.writerow(COLUMNS)
        return lambda record: quoted.writerow([harmless(_cell(name, record[name])) for name in COLUMNS])
    if kind in (".jsonl", ".ndjson"):
        return lambda record: out.write(json.dumps(_trimmed(record), ensure_ascii=False) + "\n")
    if kind != ".csv":
        raise WrongInput(f"{file}: the name ends in .csv or .jsonl, and .gz after it")
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    return lambda record: rows.writerow([_cell(name, record[name]) for name in COLUMNS])


def harmless(cell: str) -> str:
    """A cell as a spreadsheet shows it, and does not run it: what could begin a formula has an apostrophe
    before it, also after what another program takes for the end of a cell (OWASP, "CSV Injection")."""
    return _FORMULA.sub(r"\1'\2", cell)


def _trimmed(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value not in ("", [], {})}


def _cell(name: str, value: Any) -> str:
    if name in ("webpush", "attributes"):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return ";".join(value) if isinstance(value, list) else str(value)


# -- records ------------------------------------------------------------------------------------------------


async def _records(page: list[Recipient], store: Store, key: bytes) -> list[dict[str, Any]]:
    hashes = {person.uid: _hashes(person, key) for person in page}
    blocked = await store.directory.suppressed({h for some in hashes.values() for h in some.values()})
    cohorts, online = await _cohorts(page, store), await store.directory.online([p.uid for p in page])
    return [
        _record(
            person,
            [channel.value for channel, h in hashes[person.uid].items() if h in blocked],
            cohorts.get(person.uid, []),
            online.get(person.uid, 0) // 1000 or "",
        )
        for person in page
    ]


def _hashes(person: Recipient, key: bytes) -> dict[Channel, bytes]:
    addresses = {Channel.EMAIL: person.email, Channel.SMS: person.cell}
    return {c: ids.address_hash(key, c, address) for c, address in addresses.items() if address}


async def _cohorts(page: list[Recipient], store: Store) -> dict[UUID, list[str]]:
    found: dict[UUID, list[str]] = {}
    uids = [person.uid for person in page]
    for cohort in await store.cohorts.sizes():
        for uid in await store.cohorts.members(cohort, uids):
            found.setdefault(uid, []).append(cohort)
    return found


def _record(
    person: Recipient, suppressed: list[str], cohorts: list[str], online: int | str
) -> dict[str, Any]:
    return {
        "uid": str(person.uid),
        "name": person.name,
        "email": person.email,
        "cell": person.cell,
        "lang": person.lang,
        "tz": person.tz,
        "channels": _channels(person.channels),
        "consents": sorted(person.consents),
        "last_seen": _time(person.last_seen),
        "created": _time(person.created),
        "online_total": online,
        "suppressed": suppressed,
        "cohorts": sorted(cohorts),
        "apns": _tokens(person, Channel.APNS),
        "fcm": _tokens(person, Channel.FCM),
        "webpush": [_subscription(d) for d in person.devices if d.channel is Channel.WEBPUSH],
        "attributes": dict(person.attributes),
    }


def _channels(channels: frozenset[Channel] | None) -> list[str]:
    if channels is None:
        return []
    return sorted(channels) or [MUTE]


def _time(at: datetime | None) -> str:
    return at.isoformat() if at else ""


def _tokens(person: Recipient, channel: Channel) -> list[str]:
    return [f"{d.token}@{_time(d.registered)}" for d in person.devices if d.channel is channel]


def _subscription(device: Device) -> dict[str, Any]:
    keys = {"p256dh": device.p256dh, "auth": device.auth}
    return {"endpoint": device.token, "keys": keys, "registered": _time(device.registered)}
