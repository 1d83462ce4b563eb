"""Rows of the system before this one, as SELECT JSON * gives them: only columns that are set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ANN, BOB, CLEO = (f"{n}0e4d7a0-5c11-11ea-8f00-0242ac110002" for n in (1, 2, 3))
NOBODY = "90e4d7a0-5c11-11ea-8f00-0242ac110002"
NEWS, OFF, WEEKLY, GONE = (f"{n}1e4d7a0-5c11-11ea-8f00-0242ac110002" for n in (1, 2, 3, 4))
MIDS = [f"{n}0f4d7a0-5c1{n}-11ea-8f00-0242ac110002" for n in range(1, 10)]
SENT, LATER, CANCELED, CHILD, PAST, BEGUN, DELETED, FOR_SOME, HIDDEN = MIDS
P256DH = "BN81HfHxzt4V4lXDV_2ia8Rl_QvqofvoNI7_MOHCiOMEYuFXFNDBOJzKCCj2nzK5luwnH6rvBCN2jx7lNHpraaw"
BROWSER = {"endpoint": "https://p.example.com/1", "keys": {"p256dh": P256DH, "auth": "A" * 22}}

USERS: list[dict[str, Any]] = [
    {
        "uid": ANN,
        "uname": "Ann",
        "pwd": "never-to-be-seen",
        "email": "Ann@Example.com",
        "params": {"plan": "pro"},
        "cohorts": ["beta"],
        "lang": "en",
        "created": "2020-03-01 09:00:00.000Z",
        "owner": ANN,
        "roles": ["admin"],
        "mlast": 1583053200000,
        "cell": "+14155550100",
        "mdevices": [
            {"mtype": "apn", "did": "AB" * 32, "updated": "2020-03-01 09:00:00.000Z"},
            {"mtype": "fcm", "did": "no token at all", "updated": None},
            {"mtype": "wpn", "did": json.dumps(BROWSER), "updated": "2020-03-02 09:00:00.000Z"},
        ],
        "mcerts": {"one": {"opriv": "never-to-be-seen"}},
        "shoe": "a column of somebody's own",
    },
    {"uid": BOB, "mtypes": ["~"], "lang": "de-AT", "splits": {"welcome": "welcome_A"}, "email": "nonsense"},
    {"uid": CLEO, "mtypes": ["apn", "pigeon"], "email": "cleo@example.com"},
    {"uid": "17", "email": "not-a-person@example.com"},
]
EMAILS = [
    {"email": "ann@example.com", "uid": ANN},
    {"email": "bob@example.org", "uid": BOB},
    {"email": "another@example.com", "uid": CLEO},
    {"email": "nobody@example.com", "uid": NOBODY},
]
COHORTS = [{"cohort": "beta", "imported": 2, "uids_url": "https://x"}, {"cohort": "empty"}]
SPLITS = [
    {"cohort": "*", "sfam": "welcome", "split": "welcome_A", "seq": 1, "pct": 50.0},
    {"cohort": "*", "sfam": "tone", "split": "tone_B", "seq": 1, "users": [BOB, NOBODY]},
]
THREADS: list[dict[str, Any]] = [
    {
        "tid": NEWS,
        "name": "News",
        "owner": ANN,
        "admins": [ANN],
        "pubs": [BOB],
        "subs": [ANN, BOB, CLEO, NOBODY],
        "outs": [CLEO],
        "prefs": {ANN: ["apn", "em"], BOB: ["~"], CLEO: ["apn"]},
        "mtypes": ["apn", "em", "ws"],
        "urgency": 4,
        "sys": True,
        "opens": True,
        "updated": "2020-03-05 09:00:00.000Z",
    },
    {"tid": OFF, "name": "Off", "owner": BOB, "mtypes": ["~"], "archived": True, "subs": [BOB], "urgency": 9},
    {
        "tid": WEEKLY,
        "alias": "weekly",
        "owner": ANN,
        "mtypes": ["emw"],
        "fmtypes": ["sms", "em"],
        "cmtypes": ["ws"],
        "mtempl": {"em": "Hi {{fn}}"},
        "ephemeral": 3600,
        "openp": True,
        "subs": [ANN],
        "prefs": {ANN: ["carrier-pigeon"]},
    },
    {"tid": GONE, "name": "Gone", "owner": ANN, "deleted": "2020-03-05 09:00:00.000Z", "subs": [ANN]},
]
JOINS = [
    {"tid": OFF, "secid": MIDS[0], "pending": True, "owner": ANN, "created": "2020-03-03 08:00:00.000Z"},
    {"tid": NEWS, "secid": MIDS[1], "pending": True, "owner": BOB},
    {"tid": OFF, "secid": MIDS[2], "pending": False, "approver": BOB, "owner": CLEO},
    {"tid": OFF, "secid": MIDS[3], "pending": True, "owner": CLEO, "perm": {"right": "read"}},
]


def said(mid: str, text: str, **more: Any) -> dict[str, Any]:
    """A row of mstore in the thread of the news, by its owner."""
    return {"tid": NEWS, "mid": mid, "msg": text, "owner": ANN, "hidden": False, **more}


MESSAGES = [
    said(
        SENT,
        "Good morning",
        data='{"key": "whatever", "n": 3, "from": "x"}',
        completed="2020-03-03 08:00:01.000Z",
        mtypes=["apn"],
        deliveries=[ANN],
        failures=[BOB],
    ),
    said(LATER, "See you", scheduled="2099-01-01 08:00:00.000Z", urgency=1, subject="Soon"),
    said(CANCELED, "Never mind", meta={"canceled": "true"}, completed="2020-03-03 09:00:00.000Z"),
    said(CHILD, "Morning!", pmid=SENT, owner=BOB),
    said(PAST, "Too late", scheduled="2020-04-01 08:00:00.000Z"),
    said(BEGUN, "Half way", scheduled="2099-01-01 08:00:00.000Z", qid=MIDS[0]),
    said(DELETED, "Forget it", deleted="2020-03-05 09:00:00.000Z"),
    said(FOR_SOME, "For you two", users=[ANN, BOB], completed="2020-03-03 08:00:01.000Z"),
    said(HIDDEN, "Hidden", hidden=True, completed="2020-03-03 08:00:01.000Z"),
    {"tid": GONE, "mid": MIDS[0], "msg": "In a thread that was deleted", "owner": ANN},
]
TABLES: dict[str, list[dict[str, Any]]] = {
    "users": USERS,
    "user_emails": EMAILS,
    "cohorts": COHORTS,
    "splits": SPLITS,
    "mthreads": THREADS,
    "msec": JOINS,
    "mstore": MESSAGES,
    "mfailures": [{"tid": NEWS, "mid": SENT, "uid": BOB, "mtype": "fcm", "failure": "noack"}],
    "queues": [{"svc": "xss", "qid": MIDS[0], "schedule": "2099-01-01 08:00:00.000Z"}],
}


def write(folder: Path, tables: dict[str, list[dict[str, Any]]] = TABLES) -> Path:
    """The tables as files of JSON Lines."""
    folder.mkdir(exist_ok=True)
    for table, rows in tables.items():
        (folder / f"{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
