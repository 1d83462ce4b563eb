"""The same rows in a real keyspace of the old system, read from there into a store on Cassandra."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from old_rows import MESSAGES, TABLES
from test_old_import import (
    check_messages,
    check_people,
    check_sent_meanwhile,
    check_threads,
    everything,
)

from msgxc.errors import NotFound, WrongInput
from msgxc.old.importing import import_old
from msgxc.old.keyspace import open_keyspace
from msgxc.store.cassandra.session import Session
from msgxc.store.cassandra.settings import CassandraSettings
from msgxc.wiring import Exchange

KEYSPACE = "sfpl"
STAMPS = "created timestamp, org timeuuid, owner timeuuid, updated timestamp, updater timeuuid"
SCHEMA = f"""
CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}};
CREATE TYPE {KEYSPACE}.mdevice (mtype text, did text, updated timestamp);
CREATE TYPE {KEYSPACE}.mcert (id timeuuid, name text, opub text, opriv text);
CREATE TYPE {KEYSPACE}.perm (org timeuuid, role timeuuid, right text, owner timeuuid, noun text, verb text);
CREATE TABLE {KEYSPACE}.users (uid timeuuid PRIMARY KEY, uname text, pwd text, uhash text, email text,
    ehash text, roles set<text>, rights set<text>, params map<text,text>, cohorts set<text>,
    splits map<text,text>, lang text, mdevices list<frozen<mdevice>>, mtypes set<text>, mlast bigint,
    cell text, mcerts map<text, frozen<mcert>>, shoe text, {STAMPS});
CREATE TABLE {KEYSPACE}.user_emails (email text PRIMARY KEY, uid timeuuid);
CREATE TABLE {KEYSPACE}.cohorts (cohort text PRIMARY KEY, uids_url text, imported int, {STAMPS});
CREATE TABLE {KEYSPACE}.splits (cohort text, sfam text, split text PRIMARY KEY, seq int, users set<timeuuid>,
    pct double, {STAMPS});
CREATE TABLE {KEYSPACE}.mthreads (tid timeuuid PRIMARY KEY, alias text, name text, mtempl map<text, text>,
    mtypes set<text>, fmtypes set<text>, cmtypes set<text>, urgency int, sys boolean, ephemeral int,
    archived boolean, admins set<timeuuid>, opens boolean, openp boolean, outs set<timeuuid>,
    subs set<timeuuid>, pubs set<timeuuid>, prefs map<timeuuid, frozen<set<text>>>, deleted timestamp,
    {STAMPS});
CREATE TABLE {KEYSPACE}.msec (tid timeuuid, secid timeuuid, perm frozen<perm>, pending boolean,
    approver timeuuid, approved timestamp, {STAMPS}, PRIMARY KEY ((tid), secid));
CREATE TABLE {KEYSPACE}.mstore (tid timeuuid, mid timeuuid, pmid timeuuid, subject text, msg text, data text,
    urgency int, qid timeuuid, meta map<text,text>, scheduled timestamp, completed timestamp,
    mtypes set<text>, users set<timeuuid>, deliveries set<timeuuid>, failures set<timeuuid>,
    hidden boolean, deleted timestamp,
    {STAMPS}, PRIMARY KEY ((tid), mid));
CREATE TABLE {KEYSPACE}.mfailures (tid timeuuid, mid timeuuid, uid timeuuid, mtype text,
    mdevice frozen<mdevice>, failure text, PRIMARY KEY ((tid), mid, uid, mtype));
CREATE TABLE {KEYSPACE}.queues (qid timeuuid PRIMARY KEY, svc text, schedule timestamp)
"""


async def _cql(settings: CassandraSettings, statements: list[str]) -> None:
    session = Session(settings)
    await session.open()
    await session.script(statements)
    await session.close()


def _inserts(tables: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The rows as INSERT JSON, but for those that such a table cannot hold."""
    rows = [
        (table, json.dumps(row)) for table, some in tables.items() for row in some if row.get("uid") != "17"
    ]
    return [f"INSERT INTO {KEYSPACE}.{t} JSON '{text.replace(chr(39), chr(39) * 2)}'" for t, text in rows]


async def test_the_old_keyspace_itself(
    shared: Exchange, cassandra_settings: CassandraSettings, tmp_path: Path
) -> None:
    """Read directly: the same people, threads and messages as from files; again nothing doubles."""
    schema = re.sub(r"frozen<(mdevice|mcert|perm)>", rf"frozen<{KEYSPACE}.\1>", SCHEMA)
    await _cql(cassandra_settings, [*schema.split(";"), *_inserts(TABLES)])
    place = f"127.0.0.1:{cassandra_settings.port}"

    async def taken(**how: bool) -> dict[str, dict[str, int]]:
        source = await open_keyspace(place, KEYSPACE)
        try:
            made = await import_old(shared, source, report=tmp_path / "report.csv", **how)
        finally:
            await source.close()
        return {name: told.counts() for name, told in made.tables.items()}

    empty = await everything(shared)
    tried = await taken(dry_run=True)
    assert await everything(shared) == empty
    first = await taken()
    assert {name: told["refused"] for name, told in tried.items()} == {
        name: told["refused"] for name, told in first.items()
    }
    assert set(first) == set(TABLES)
    await check_people(shared)
    await check_threads(shared)
    await check_messages(shared)
    whole = await everything(shared)
    again = await taken()
    assert await everything(shared) == whole
    assert again["mstore"]["unchanged"] == first["mstore"]["taken"] == 8

    sent = MESSAGES[1] | {"scheduled": None, "completed": "2020-03-04 08:00:00.000Z"}
    await _cql(cassandra_settings, _inserts({"mstore": [sent]}))
    await taken()
    await check_sent_meanwhile(shared)
    with pytest.raises(NotFound):
        await import_old(shared, await open_keyspace(place, "nothing_here"), report=tmp_path / "r.csv")


@pytest.mark.parametrize("place", ["", "host:port", "host:99999", "http://host"])
async def test_a_place_that_is_none(place: str) -> None:
    """One line, before anybody connects."""
    with pytest.raises(WrongInput):
        await open_keyspace(place, KEYSPACE)
    with pytest.raises(WrongInput):
        await open_keyspace("127.0.0.1", "a; DROP KEYSPACE b")
