"""The example people: 5,000 records that look like real life, and threads that some of them subscribe to.

    python schema/example/make_people.py [FOLDER]

writes people.jsonl.gz and threads.jsonl, the same every time. Nobody in it exists: emails are at
example.com and example.org (RFC 2606), phone numbers are the 555-0100 to 555-0199 that are reserved for
fiction (and a few 555-1xxx to 555-6xxx that steer the sandbox), web push endpoints are at a name that never
resolves (RFC 6761). A token, an endpoint or a local part such as `gone-…` or `slow40-…` tells the sandbox
what to do with it: docs/sandbox.md has the words.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from msgxc.sandbox.subscriber import SUBSCRIBER_AUTH, SUBSCRIBER_P256DH, push_endpoint

Record = dict[str, Any]

SEED = 20261122
TODAY = datetime(2026, 11, 22, 9, tzinfo=UTC)
RECORDS = 5000
DUPLICATES = 60

#: Language -> share, zones, first and last names as they are written and as they stand in an email address.
PEOPLES: dict[str, tuple[int, list[str], list[tuple[str, str]], list[tuple[str, str]]]] = {
    "en": (
        40,
        ["America/New_York", "America/Los_Angeles", "Europe/London", "Australia/Sydney", "Africa/Lagos"],
        [
            ("Olivia", "olivia"),
            ("Noah", "noah"),
            ("Ava", "ava"),
            ("Liam", "liam"),
            ("Zoë", "zoe"),
            ("Femi", "femi"),
        ],
        [
            ("O'Connor", "oconnor"),
            ("Smith", "smith"),
            ("Okafor", "okafor"),
            ("Nguyen", "nguyen"),
            ("de la Cruz", "cruz"),
        ],
    ),
    "de": (
        25,
        ["Europe/Berlin", "Europe/Vienna", "Europe/Zurich"],
        [
            ("Jürgen", "juergen"),
            ("Änne", "aenne"),
            ("Lena", "lena"),
            ("Mehmet", "mehmet"),
            ("Karl-Heinz", "kh"),
        ],
        [("Müller", "mueller"), ("Groß", "gross"), ("von Weizsäcker", "weizsaecker"), ("Yılmaz", "yilmaz")],
    ),
    "fr": (
        15,
        ["Europe/Paris", "Europe/Brussels", "America/Montreal", "Africa/Dakar"],
        [("Chloé", "chloe"), ("François", "francois"), ("Maëlys", "maelys"), ("Aïssatou", "aissatou")],
        [("Lefèvre", "lefevre"), ("d'Artagnan", "dartagnan"), ("Diallo", "diallo"), ("Nuñez", "nunez")],
    ),
    "ar": (
        10,
        ["Asia/Riyadh", "Africa/Cairo", "Asia/Dubai"],
        [("محمد", "mohammed"), ("فاطمة", "fatima"), ("يوسف", "youssef"), ("ليلى", "layla")],
        [("الحسن", "alhassan"), ("حداد", "haddad"), ("المصري", "almasri")],
    ),
    "ja": (
        10,
        ["Asia/Tokyo"],
        [("さくら", "sakura"), ("蓮", "ren"), ("陽菜", "hina"), ("大翔", "hiroto")],
        [("佐藤", "sato"), ("髙橋", "takahashi"), ("渡邉", "watanabe")],
    ),
}
#: Names that templates, mails and consoles have to bear.
HARD_NAMES = [
    "🎉 Party Pat 🎉",
    "👨‍👩‍👧‍👦 The Family",
    "José 🇪🇸",
    "\u202eבארי",
    "عمر\u200f (Omar)",
    "{{ 7 * 7 }}",
    "{% for x in range(9) %}x{% endfor %}",
    "<b>Bold</b> & Sons",
    "Robert'); DROP TABLE people;--",
    "Zalgo Z̷̢a̴̡l̵̨g̶̛o̴̢",
    "Ng",
    "Wolfeschlegelstein" * 16,
]
#: What the sandbox does -> its share in a thousand devices.
STEERED = [
    ("gone", 35),
    ("goneold", 5),
    ("bad", 3),
    ("mismatch", 3),
    ("slow40", 5),
    ("slow150", 4),
    ("throttled1", 4),
    ("throttled2", 2),
    ("down1", 3),
    ("lost1", 2),
    ("toolarge", 1),
    ("", 933),
]
AREA_CODES = [
    "201",
    "202",
    "203",
    "205",
    "206",
    "207",
    "208",
    "209",
    "210",
    "212",
    "213",
    "214",
    "215",
    "216",
    "217",
    "218",
    "219",
    "224",
    "225",
    "228",
    "229",
    "231",
    "234",
    "239",
]
STEERED_CELLS = ["1000", "1100", "1400", "2001", "3001", "6001"]  # stop, bad, gone, throttled, slow, lost
CITIES = ["Berlin", "Paris", "Kyōto", "القاهرة", "São Paulo", "New York", "Zürich"]


def chance(random: Random, percent: float) -> bool:
    """True so often in a hundred."""
    return random.random() * 100 < percent


def at(time: datetime) -> str:
    """As the file has it."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def token(random: Random, length: int) -> str:
    """Hexadecimal, steered by its first word in a few of a thousand."""
    word = random.choices([w for w, _ in STEERED], [share for _, share in STEERED])[0]
    plain = f"{random.getrandbits(4 * length):0{length}x}"
    return f"{word}-{plain[:16]}" if word else plain


def device(random: Random, kind: str, since: datetime) -> Record:
    """One device of a kind, registered between `since` and today."""
    registered = at(since + (TODAY - since) * random.random())
    if kind == "webpush":
        keys = {"p256dh": SUBSCRIBER_P256DH, "auth": SUBSCRIBER_AUTH}
        return {"endpoint": push_endpoint(token(random, 24)), "keys": keys, "registered": registered}
    made = token(random, 64 if kind == "apns" else 32)
    return {"channel": kind, "token": made, "registered": registered}


def devices(random: Random, since: datetime) -> list[Record]:
    """None to five."""
    count = random.choices(range(6), (14, 44, 27, 10, 4, 1))[0]
    kinds = random.choices(("apns", "fcm", "webpush"), (42, 38, 20), k=count)
    return [device(random, kind, since) for kind in kinds]


def cells() -> Iterator[str]:
    """Numbers reserved for fiction, each once."""
    for last in range(100, 200):
        for area in AREA_CODES:
            yield f"+1{area}5550{last}"


def person(random: Random, number: int, cell: Iterator[str]) -> Record:
    """One person, whole."""
    lang = random.choices(list(PEOPLES), [share for share, *_ in PEOPLES.values()])[0]
    _, zones, firsts, lasts = PEOPLES[lang]
    (first, first_ascii), (last, last_ascii) = random.choice(firsts), random.choice(lasts)
    created = TODAY - timedelta(days=random.randrange(20, 1500), seconds=random.randrange(86_400))
    record: Record = {"uid": str(UUID(int=random.getrandbits(128), version=4))}
    record["name"] = f"{last} {first}" if lang == "ja" else f"{first} {last}"
    if chance(random, 88):
        word = "gone-" if chance(random, 1) else ""
        domain = random.choice(("example.com", "example.com", "example.org"))
        record["email"] = f"{word}{first_ascii}.{last_ascii}{number}@{domain}"
    if chance(random, 45):
        record["cell"] = next(cell)
    record |= {"lang": lang, "tz": random.choice(zones), "created": at(created)}
    record["last_seen"] = at(TODAY - (TODAY - created) * random.random() ** 3)
    record["devices"] = devices(random, created)
    record |= preferences(random, record)
    record["attributes"] = {
        "plan": random.choices(("free", "silver", "gold"), (70, 22, 8))[0],
        "visits": int(random.expovariate(1 / 20)),
        "spent": round(random.expovariate(1 / 40), 2),
        "vip": chance(random, 4),
        "city": random.choice(CITIES),
    }
    return record


def preferences(random: Random, record: Record) -> Record:
    """What they want, what they agreed to, and what is blocked."""
    chosen: Record = {}
    if chance(random, 3):
        chosen["channels"] = "~"
    elif chance(random, 12):
        chosen["channels"] = random.sample(
            ["apns", "fcm", "webpush", "email", "sms"], k=random.randrange(1, 4)
        )
    consents = [purpose for purpose, share in (("marketing", 78), ("product", 62)) if chance(random, share)]
    chosen["consents"] = consents or ["~"]
    blocked = [
        c
        for c, key, share in (("email", "email", 2), ("sms", "cell", 2))
        if key in record and chance(random, share)
    ]
    if blocked:
        chosen["suppressed"] = blocked
    groups = [name for name, share in (("newsletter", 40), ("beta-testers", 6)) if chance(random, share)]
    return chosen | ({"cohorts": groups} if groups else {})


# -- what real files have besides ---------------------------------------------------------------------------


def unreachable(record: Record) -> None:
    """No address at all."""
    for name in ("email", "cell", "devices", "suppressed"):
        record.pop(name, None)


def old_names(record: Record) -> None:
    """As the system before this one wrote it."""
    codes = {"apns": "apn", "fcm": "fcm", "webpush": "wpn", "email": "em", "sms": "sms"}
    record["mdevices"] = [
        {"mtype": codes[d["channel"]], "did": d["token"], "updated": d["registered"]}
        for d in record.pop("devices", [])
        if "channel" in d
    ]
    if isinstance(record.get("channels"), list):
        record["mtypes"] = [codes[channel] for channel in record.pop("channels")]


def foreign_id(record: Record, number: int) -> None:
    """Known by the customer number of another system."""
    del record["uid"]
    record["xid"] = f"crm-{number}"


def known_by_email(record: Record) -> None:
    """Known by nothing but the address."""
    if "email" in record:
        del record["uid"]


def again(random: Random, record: Record) -> Record:
    """The same person once more, from another source: less of them, one device more, another plan."""
    kept = {name: record[name] for name in ("uid", "xid", "email") if name in record}
    return kept | {
        "devices": [device(random, "fcm", TODAY - timedelta(days=9))],
        "attributes": {"plan": "gold"},
    }


def wrong(records: Sequence[Record]) -> list[str]:
    """Lines that an import refuses, one for each common reason."""
    base = {"uid": "wrong-1", "lang": "en"}
    mistakes: list[Record] = [
        {"email": "not an address"},
        {"cell": "555-0199"},
        {"tz": "Europe/Atlantis"},
        {"channels": "pigeon"},
        {"lnag": "de"},
    ]
    lines = [json.dumps(base | mistake) for mistake in mistakes]
    return [*lines, json.dumps(records[0])[:80], json.dumps({"name": "Nobody in particular"})]


def people(random: Random) -> list[str]:
    """All lines: the people, some of them twice, and the wrong ones in between."""
    numbers = cells()
    records = [person(random, number, numbers) for number in range(RECORDS - DUPLICATES - 7)]
    for number, name in enumerate(HARD_NAMES * 4):
        records[100 + 61 * number]["name"] = name
    for number, ending in enumerate(STEERED_CELLS * 3):
        records[150 + 97 * number]["cell"] = f"+1{AREA_CODES[number]}555{ending}"
    for number, record in enumerate(records):
        if number % 47 == 3:
            unreachable(record)
        if number % 33 == 5:
            old_names(record)
        if number % 9 == 4:
            foreign_id(record, 10_000 + number)
        elif number % 14 == 6:
            known_by_email(record)
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    for number in range(DUPLICATES):
        twice = again(random, records[5 + 71 * number])
        lines.insert(random.randrange(80 * number + 100, len(lines)), json.dumps(twice))
    for number, line in enumerate(wrong(records), 1):
        lines.insert(640 * number, line)
    return lines


def threads(random: Random, lines: Sequence[str]) -> list[Record]:
    """A few threads; subscribers with their own wishes, one thread switched off, one archived."""
    found = [json.loads(line) for line in lines[:600]]
    uids = [record["uid"] for record in found if len(record.get("uid", "")) == 36]
    base = {"tid": "00000000-0000-4000-8000-00000000000"}

    def some(count: int) -> list[Any]:
        wishes = random.choices(([], ["email"], ["apn", "fcm"], "~"), (85, 6, 5, 4), k=count)
        chosen = random.sample(uids, count)
        return [{"uid": u, "channels": w} if w else u for u, w in zip(chosen, wishes, strict=True)]

    def thread(number: int, name: str, count: int, **more: Any) -> Record:
        return {"tid": f"{base['tid']}{number}", "name": name, **more, "subscribers": some(count)}

    return [
        thread(1, "Product news", 300, open=True, channels=["apns", "fcm", "webpush", "email"], urgency=2),
        thread(2, "Team chat", 40, owner=uids[0], open_to_publish=True, fallback=["email"], urgency=3),
        thread(3, "Incidents", 25, owner=uids[1], channels=["apns", "fcm", "sms"], urgency=4),
        thread(4, "Switched off", 30, channels="~"),
        thread(5, "Last year's fair", 60, archived=True, urgency=1),
    ]


def main(folder: Path) -> None:
    """Write both files."""
    random = Random(SEED)  # noqa: S311  # The same people every time is the point.
    lines = people(random)
    with gzip.GzipFile(folder / "people.jsonl.gz", "wb", 9, mtime=0) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
    told = [json.dumps(thread, ensure_ascii=False) + "\n" for thread in threads(random, lines)]
    (folder / "threads.jsonl").write_text("".join(told), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
