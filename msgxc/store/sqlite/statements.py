"""Every statement of the embedded store, each with its sentence."""

from msgxc.ledger import Mark

RECIPIENT_COLUMNS = (
    "uid, name, email, cell, lang, tz, channels, devices, consents, attributes, last_seen, created"
)

_CHOSEN = f"{RECIPIENT_COLUMNS}, given, withdrawn"
#: Write a recipient's whole record; what they chose by themselves stays.
PUT_RECIPIENT = (
    f"INSERT INTO recipients ({RECIPIENT_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?) "  # noqa: S608 - constant text
    "ON CONFLICT (uid) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in RECIPIENT_COLUMNS.split(", ")[1:])
)
#: Read the records of some uids; `{marks}` is one `?` each.
GET_RECIPIENTS = f"SELECT {_CHOSEN} FROM recipients WHERE uid IN ({{marks}})"  # noqa: S608 - constant text
#: The next page of all recipients; `{where}` narrows.
SCAN_RECIPIENTS = f"SELECT {_CHOSEN} FROM recipients WHERE uid > ?{{where}} ORDER BY uid LIMIT ?"  # noqa: S608 - constant text
#: The next page of all uids.
SCAN_UIDS = "SELECT uid FROM recipients WHERE uid > ? ORDER BY uid LIMIT ?"
#: How many recipients there are.
COUNT_RECIPIENTS = "SELECT count(*) FROM recipients"
#: Everything personal of one recipient.
ERASE = (
    "DELETE FROM recipients WHERE uid = ?",
    "DELETE FROM cohort_members WHERE uid = ?",
    "DELETE FROM subscriptions WHERE uid = ?",
    "DELETE FROM device_owners WHERE uid = ?",
    "DELETE FROM reads WHERE uid = ?",
    "DELETE FROM reading_devices WHERE uid = ?",
    "DELETE FROM scheduled WHERE sender = ?",
    "DELETE FROM joins WHERE uid = ?",
    "DELETE FROM choices WHERE uid = ?",
    "DELETE FROM online WHERE uid = ?",
    "UPDATE joins SET by = NULL WHERE by = ?",
)
BURY = "INSERT OR IGNORE INTO tombstones (mark, at) VALUES (?,?)"
UNBURY = "DELETE FROM tombstones WHERE mark = ?"
#: Which marks are kept; `{marks}` is one `?` each.
BURIED = "SELECT mark FROM tombstones WHERE mark IN ({marks})"
#: One recipient's devices, and writing them back.
GET_DEVICES = "SELECT devices FROM recipients WHERE uid = ?"
SET_DEVICES = "UPDATE recipients SET devices = ? WHERE uid = ?"
#: Somebody who enlists a device is seen; whoever is not there comes into being.
APPEAR = (
    f"INSERT INTO recipients ({RECIPIENT_COLUMNS}) "  # noqa: S608 - constant text
    "VALUES (?,'','','','','',NULL,'[]','','{}',?,?) "
    "ON CONFLICT (uid) DO UPDATE SET last_seen = excluded.last_seen"
)
#: Somebody who is there was seen.
SEEN = "UPDATE recipients SET last_seen = max(coalesce(last_seen, 0), ?) WHERE uid = ?"
#: For how long some uids have been online, and of which times that knows; `{marks}` is one `?` each.
ONLINE = "SELECT uid, total, lately FROM online WHERE uid IN ({marks})"
#: Write it back, of whoever is there.
SET_ONLINE = (
    "INSERT INTO online (uid, total, lately) SELECT ?1, ?2, ?3 WHERE EXISTS "
    "(SELECT 1 FROM recipients WHERE uid = ?1) "
    "ON CONFLICT (uid) DO UPDATE SET total = excluded.total, lately = excluded.lately"
)
#: Who enlisted a device last.
OWNER = "SELECT uid FROM device_owners WHERE address = ?"
DISOWN = "DELETE FROM device_owners WHERE address = ? AND uid = ?"
OWN = "INSERT OR REPLACE INTO device_owners (address, uid) VALUES (?,?)"
#: What somebody chose by themselves, and writing it back.
GET_CHOICES = "SELECT given, withdrawn FROM recipients WHERE uid = ?"
SET_CHOICES = "UPDATE recipients SET given = ?, withdrawn = ? WHERE uid = ?"
#: Who of some uids ever chose, and what; `{marks}` is one `?` each.
CHOICES = (
    "SELECT uid, given, withdrawn FROM recipients WHERE uid IN ({marks}) AND (given <> '' OR withdrawn <> '')"
)
#: Add a line to the log of choices; the log of one person.
SAY = "INSERT OR IGNORE INTO choices (uid, at, item, act, how, link) VALUES (?,?,?,?,?,?)"
SAID = "SELECT at, item, act, how, link FROM choices WHERE uid = ? ORDER BY at, item, act"

#: The first reason stays.
SUPPRESS = (
    "INSERT INTO suppressions (address, channel, reason, since) VALUES (?,?,?,?) "
    "ON CONFLICT (address) DO UPDATE SET reason = excluded.reason, since = excluded.since WHERE reason = ''"
)
#: The newest STOP, the newest START of an address, by whether it is a STOP.
WISH = {
    stop: f"INSERT INTO suppressions (address, channel, reason, since, {name}) VALUES (?1,?2,'',?3,?3) "  # noqa: S608 - constant text
    f"ON CONFLICT (address) DO UPDATE SET {name} = max(coalesce({name}, 0), excluded.{name})"
    for stop, name in ((True, "stopped"), (False, "started"))
}
#: Which addresses are suppressed; `{marks}` is one `?` each.
SUPPRESSED = (
    "SELECT address, CASE WHEN reason = '' THEN 'stopped' ELSE reason END FROM suppressions "
    "WHERE address IN ({marks}) AND (reason <> '' OR stopped >= coalesce(started, stopped))"
)

ADD_MEMBER = "INSERT OR IGNORE INTO cohort_members (cohort, uid) VALUES (?,?)"
REMOVE_MEMBER = "DELETE FROM cohort_members WHERE cohort = ? AND uid = ?"
DROP_COHORT = "DELETE FROM cohort_members WHERE cohort = ?"
#: Which uids are members; `{marks}` is one `?` each.
MEMBERS = "SELECT uid FROM cohort_members WHERE cohort = ? AND uid IN ({marks})"
#: The next page of a cohort.
SCAN_COHORT = "SELECT uid FROM cohort_members WHERE cohort = ? AND uid > ? ORDER BY uid LIMIT ?"
COHORT_SIZES = "SELECT cohort, count(*) FROM cohort_members GROUP BY cohort ORDER BY cohort"
#: From one to the next in the index: their people are not read.
COHORT_NAMES = """
WITH RECURSIVE names (cohort) AS (
    SELECT min(cohort) FROM cohort_members
    UNION ALL
    SELECT (SELECT min(cohort) FROM cohort_members WHERE cohort > names.cohort) FROM names
    WHERE names.cohort IS NOT NULL
)
SELECT cohort FROM names WHERE cohort IS NOT NULL
"""

PUT_THREAD = "INSERT OR REPLACE INTO threads (tid, record) VALUES (?,?)"
GET_THREAD = "SELECT record FROM threads WHERE tid = ?"
#: All threads whose record names a uid, as text.
THREADS_NAMING = "SELECT tid, record FROM threads WHERE instr(record, ?) > 0"
#: The next page of all threads.
SCAN_THREADS = "SELECT tid, record FROM threads WHERE tid > ? ORDER BY tid LIMIT ?"
THREAD_IDS = "SELECT tid FROM threads ORDER BY tid"
SUBSCRIBE = "INSERT OR REPLACE INTO subscriptions (tid, uid, channels) VALUES (?,?,?)"
#: The same as somebody else says; channels that nobody names, and those that were taken back, stay so.
ENTER = "INSERT OR IGNORE INTO subscriptions (tid, uid) VALUES (?,?)"
ENTER_WITH = (
    "INSERT INTO subscriptions (tid, uid, channels) VALUES (?,?,?) "
    "ON CONFLICT (tid, uid) DO UPDATE SET channels = excluded.channels"
)
#: Which channels a subscriber took back, and writing them back.
GET_WITHOUT = "SELECT without FROM subscriptions WHERE tid = ? AND uid = ?"
SET_WITHOUT = "UPDATE subscriptions SET without = ? WHERE tid = ? AND uid = ?"
UNSUBSCRIBE = "DELETE FROM subscriptions WHERE tid = ? AND uid = ?"
#: The subscriptions of some uids; `{marks}` is one `?` each.
SUBSCRIPTIONS = "SELECT uid, channels, without FROM subscriptions WHERE tid = ? AND uid IN ({marks})"
#: The next page of a thread's subscribers.
SCAN_SUBSCRIBERS = "SELECT uid FROM subscriptions WHERE tid = ? AND uid > ? ORDER BY uid LIMIT ?"
#: How many subscribers a thread has, up to a limit.
COUNT_SUBSCRIBERS = "SELECT count(*) FROM (SELECT 1 FROM subscriptions WHERE tid = ? LIMIT ?)"
COUNT_SUBSCRIPTIONS = "SELECT count(*) FROM (SELECT 1 FROM subscriptions WHERE uid = ? LIMIT ?)"
SUBSCRIPTIONS_OF = "SELECT tid, channels, without FROM subscriptions WHERE uid = ?"

CAMPAIGN_COLUMNS = "id, spec, shards, created, control, count, digest, finished, told"
#: The first campaign of an id stays.
CREATE_CAMPAIGN = (
    "INSERT OR IGNORE INTO campaigns (id, spec, shards, created, control, message) VALUES (?,?,?,?,?,?)"
)
GET_CAMPAIGN = f"SELECT {CAMPAIGN_COLUMNS} FROM campaigns WHERE id = ?"  # noqa: S608 - constant text
#: The next page of all campaigns.
SCAN_CAMPAIGNS = f"SELECT {CAMPAIGN_COLUMNS} FROM campaigns WHERE message = 0 AND id > ? ORDER BY id LIMIT ?"  # noqa: S608 - constant text
#: What they are, the newest first.
CAMPAIGN_SPECS = "SELECT spec FROM campaigns WHERE message = 0 ORDER BY created DESC"
#: The next page of all that deliver one message.
SCAN_MESSAGE_CAMPAIGNS = SCAN_CAMPAIGNS.replace("message = 0", "message = 1")
#: The ids of those that are not older than a time.
CREATED_SINCE = "SELECT id FROM campaigns WHERE message = 0 AND created >= ?"
GET_CONTROL = "SELECT control FROM campaigns WHERE id = ?"
#: A cancel is final; what was restored is only canceled, or resumed by the statement that follows.
SET_CONTROL = (
    "UPDATE campaigns SET control = ?, told = coalesce(?, told) WHERE id = ? AND control <> 'cancel' "
    "AND (control <> 'restored' OR ? = 'cancel')"
)
RESUME_RESTORED = "UPDATE campaigns SET control = 'run' WHERE id = ? AND control = 'restored'"
#: A member counts once.
EXPAND = "INSERT OR IGNORE INTO audience (campaign, shard, uid) VALUES (?,?,?)"
#: The first seal stays.
SEAL = "UPDATE campaigns SET count = ?, digest = ? WHERE id = ? AND count IS NULL"
#: Who expands an audience that is not fixed: until it is, `digest` holds the last one's token.
GET_SEALER = "SELECT COALESCE(digest, '0') FROM campaigns WHERE id = ? AND count IS NULL"
BEGIN = "UPDATE campaigns SET digest = ? WHERE id = ? AND count IS NULL"
CLEAR = "DELETE FROM audience WHERE campaign = ?"
#: The first seal stays; and it is the one of whoever expands it now.
SEAL_AS = (
    "UPDATE campaigns SET count = ?, digest = ? WHERE id = ? AND count IS NULL AND COALESCE(digest, '0') = ?"
)
SHARD_MEMBERS = "SELECT uid FROM audience WHERE campaign = ? AND shard = ? ORDER BY uid"
FINISH_CAMPAIGN = "UPDATE campaigns SET finished = ? WHERE id = ? AND finished IS NULL"
#: Everything of a campaign.
FORGET = tuple(
    f"DELETE FROM {table} WHERE {column} = ?"  # noqa: S608 - constant text
    for table, column in (
        ("ledger", "campaign"),
        ("windows", "campaign"),
        ("leases", "campaign"),
        ("audience", "campaign"),
        ("campaigns", "id"),
    )
)

#: What is known of some shards of a campaign.
FORGET_SHARDS = tuple(
    f"DELETE FROM {table} WHERE campaign = ? AND shard >= ? AND shard < ?"  # noqa: S608 - constant text
    for table in ("ledger", "windows", "audience")
)

#: Take the lease where nobody holds it: the one compare-and-set. Answers the new epoch.
CLAIM = (
    "INSERT INTO leases (campaign, shard, owner, epoch, until) VALUES (?,?,?,1,?) "
    "ON CONFLICT (campaign, shard) DO UPDATE SET owner = excluded.owner, epoch = epoch + 1, "
    "until = excluded.until WHERE finished = 0 AND until <= ? RETURNING epoch"
)
#: Move the end of a lease that is still ours.
RENEW = (
    "UPDATE leases SET until = ? "
    "WHERE campaign = ? AND shard = ? AND owner = ? AND epoch = ? AND finished = 0"
)
#: Let go of a lease that is still ours: without owner, until it may be claimed again.
RELEASE = RENEW.replace("until = ?", "owner = '', until = ?", 1)
FINISH_SHARD = "UPDATE leases SET finished = 1 WHERE campaign = ? AND shard = ? AND owner = ? AND epoch = ?"
#: Whether a lease is just as its owner knows it.
OWNED = (
    "SELECT 1 FROM leases "
    "WHERE campaign = ? AND shard = ? AND owner = ? AND epoch = ? AND until = ? AND finished = 0"
)
#: What is known of a range of shards' leases.
LEASES = "SELECT shard, until, finished FROM leases WHERE campaign = ? AND shard >= ? AND shard < ?"

#: Who has taken a range of shards and not let go.
HELD = (
    "SELECT shard, owner, epoch, until FROM leases "
    "WHERE campaign = ? AND shard >= ? AND shard < ? AND finished = 0 AND owner <> '' ORDER BY shard"
)
#: Who holds the first shard of some campaigns; `{marks}` is one `?` each.
HOLDERS = "SELECT campaign, owner, until FROM leases WHERE shard = 0 AND campaign IN ({marks})"

OPEN_WINDOW = "INSERT OR REPLACE INTO windows (campaign, shard, epoch, number, intents) VALUES (?,?,?,?,?)"
CLOSE_WINDOW = "DELETE FROM windows WHERE campaign = ? AND shard = ? AND epoch = ? AND number = ?"
OPEN_WINDOWS = (
    "SELECT epoch, number, intents FROM windows WHERE campaign = ? AND shard = ? ORDER BY epoch, number"
)

MARKS = tuple(str(mark) for mark in Mark)
LEDGER_COLUMNS = ("uid", "delivery", "channel", "state", *MARKS, "reason", "code", "ref", "attempt")
_NEWER = "excluded.state >= state AND excluded.{0} <> ''"


def _record(mark: str) -> str:
    """Add this mark to a row: one that is there stays (LATER moves on); the words of the highest mark win."""
    kept = f"{mark} = coalesce({mark}, excluded.{mark})"
    if mark == Mark.LATER:
        kept = "later = max(excluded.later, coalesce(later, 0))"
    return (
        "INSERT INTO ledger "  # noqa: S608 - constant text
        f"(campaign, shard, uid, delivery, channel, state, {mark}, reason, code, ref, attempt) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?) "
        f"ON CONFLICT (campaign, shard, uid, delivery) DO UPDATE SET {kept}, "
        f"reason = CASE WHEN {_NEWER.format('reason')} THEN excluded.reason ELSE reason END, "
        f"code = CASE WHEN {_NEWER.format('code')} THEN excluded.code ELSE code END, "
        "ref = CASE WHEN ref = '' THEN excluded.ref ELSE ref END, "
        "channel = coalesce(channel, excluded.channel), "
        "attempt = max(attempt, excluded.attempt), state = max(state, excluded.state)"
    )


#: By mark: add one to a row.
RECORD = {mark: _record(mark) for mark in Mark}
SHARD_ROWS = (
    f"SELECT {', '.join(LEDGER_COLUMNS)} FROM ledger WHERE campaign = ? AND shard = ? ORDER BY uid, delivery"  # noqa: S608 - constant text
)

#: The first message of an id stays.
PUT_MESSAGE = "INSERT OR IGNORE INTO messages (tid, mid, record, scheduled) VALUES (?,?,?,?)"
_MESSAGE = "mid, record, scheduled, canceled, completed, recalled, joined, qid"
GET_MESSAGE = f"SELECT {_MESSAGE} FROM messages WHERE tid = ? AND mid = ?"  # noqa: S608 - constant text
#: What changes of a message; what is there stays, but for the time that it is scheduled for.
NOTE_MESSAGE = (
    "UPDATE messages SET canceled = coalesce(canceled, ?), completed = coalesce(completed, ?), "
    "recalled = coalesce(recalled, ?), joined = coalesce(joined, ?), "
    "scheduled = CASE WHEN ? THEN NULL ELSE scheduled END WHERE tid = ? AND mid = ?"
)
#: The first seal stays.
TAKE_MESSAGE = "UPDATE messages SET qid = ? WHERE tid = ? AND mid = ? AND qid = ''"
#: A page of a thread's messages, backwards and forwards.
MESSAGES_BEFORE = f"SELECT {_MESSAGE} FROM messages WHERE tid = ? AND mid < ? ORDER BY mid DESC LIMIT ?"  # noqa: S608 - constant text
MESSAGES_AFTER = f"SELECT {_MESSAGE} FROM messages WHERE tid = ? AND mid > ? ORDER BY mid LIMIT ?"  # noqa: S608 - constant text
#: The next page of all messages.
SCAN_MESSAGES = f"SELECT tid, {_MESSAGE} FROM messages WHERE (tid, mid) > (?,?) ORDER BY tid, mid LIMIT ?"  # noqa: S608 - constant text
REWRITE_MESSAGE = "UPDATE messages SET record = ? WHERE tid = ? AND mid = ?"
_SHOWN = "scheduled IS NULL AND canceled IS NULL AND recalled IS NULL"
#: The same of what people see: its index holds nothing else.
_FROM_SHOWN = "FROM messages INDEXED BY messages_shown"
SHOWN_BEFORE = MESSAGES_BEFORE.replace("FROM messages", _FROM_SHOWN).replace("ORDER", f"AND {_SHOWN} ORDER")
SHOWN_AFTER = MESSAGES_AFTER.replace("FROM messages", _FROM_SHOWN).replace("ORDER", f"AND {_SHOWN} ORDER")
FORGET_MESSAGES = "DELETE FROM messages WHERE tid = ?"
#: How many of the next messages say something: a record has no text and no subject where it is silent.
COUNT_MESSAGES = (
    "SELECT count(coalesce(json_extract(record, '$.text'), json_extract(record, '$.subject'))) FROM "  # noqa: S608 - constant text
    f"(SELECT record {_FROM_SHOWN} WHERE tid = ? AND mid > ? AND {_SHOWN} LIMIT ?)"
)
#: A message waits for its time; it waits no longer; what is past its time; how many of a sender's, in a
#: thread.
PLAN = "INSERT OR REPLACE INTO scheduled (sender, tid, mid, due) VALUES (?,?,?,?)"
UNPLAN = "DELETE FROM scheduled WHERE sender = ? AND tid = ? AND mid = ?"
FORGET_PLANS = "DELETE FROM scheduled WHERE sender = ? AND due <= ?"
COUNT_PLANS = "SELECT count(*) FILTER (WHERE tid = ?), count(*) FROM scheduled WHERE sender = ?"

#: A mark moves forward only.
MARK_READ = (
    "INSERT INTO reads (tid, uid, device, mid) VALUES (?,?,?,?) "
    "ON CONFLICT (tid, uid, device) DO UPDATE SET mid = max(mid, excluded.mid)"
)
#: The devices under whose names a person's reading is kept; one more.
READING_DEVICES = "SELECT device FROM reading_devices WHERE uid = ?"
ADD_READING_DEVICE = "INSERT OR IGNORE INTO reading_devices (uid, device) VALUES (?,?)"
#: How far (thread, person) is read on any device; `{pairs}` is one `(?,?)` each.
LAST_READ = "SELECT uid, max(mid) FROM reads WHERE (tid, uid) IN (VALUES {pairs}) GROUP BY tid, uid"
READS_OF = "SELECT tid, device, mid FROM reads WHERE uid = ?"

_ITEM = "urgency, due, mid, step, tid, kind, since, tries, turn"
ADD_ITEM = f"INSERT OR REPLACE INTO triage ({_ITEM}) VALUES (?,?,?,?,?,?,?,?,?)"  # noqa: S608 - constant text
#: The first items of an urgency whose time has come, in order.
DUE_ITEMS = f"SELECT {_ITEM} FROM triage WHERE urgency = ? AND due <= ? ORDER BY due, mid LIMIT ?"  # noqa: S608 - constant text
REMOVE_ITEM = "DELETE FROM triage WHERE urgency = ? AND due = ? AND mid = ? AND step = ?"
#: The next page of the queue of one urgency.
SCAN_ITEMS = (
    f"SELECT {_ITEM} FROM triage WHERE urgency = ? AND (due, mid, step) > (?,?,?) "  # noqa: S608 - constant text
    "ORDER BY due, mid, step LIMIT ?"
)

PUT_JOIN = "INSERT OR REPLACE INTO joins (tid, uid, state, by, at) VALUES (?,?,?,?,?)"
GET_JOIN = "SELECT tid, uid, state, by, at FROM joins WHERE tid = ? AND uid = ?"
JOINS_OF_THREAD = "SELECT tid, uid, state, by, at FROM joins WHERE tid = ? ORDER BY at"
JOINS_OF_PERSON = "SELECT tid, uid, state, by, at FROM joins WHERE uid = ? ORDER BY at"
REMOVE_JOIN = "DELETE FROM joins WHERE tid = ? AND uid = ?"

#: A fact about the whole store; the first word stays.
GET_FACT = "SELECT value FROM identity WHERE name = ?"
GET_FACTS = "SELECT name, value FROM identity"
NOTE = "INSERT OR REPLACE INTO identity (name, value) VALUES (?,?)"
NOTE_ONCE = "INSERT OR IGNORE INTO identity (name, value) VALUES (?,?)"
#: The store has been written to: its generation is one more.
COUNT_ON = (
    "INSERT INTO identity (name, value) VALUES ('generation', 1) "
    "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
)

#: From the store that is replaced (`old`) into the one that takes its place, by what is counted: what the
#: other one does not know. A restore alone does these.
CARRY = {
    #: As SUPPRESS and WISH.
    "suppressions": (
        "INSERT INTO suppressions (address, channel, reason, since, stopped, started) "
        "SELECT address, channel, reason, since, stopped, started FROM old.suppressions WHERE true "
        "ON CONFLICT (address) DO UPDATE SET "
        "since = CASE WHEN reason = '' THEN excluded.since ELSE since END, "
        "reason = CASE WHEN reason = '' THEN excluded.reason ELSE reason END, "
        "stopped = nullif(max(coalesce(stopped, 0), coalesce(excluded.stopped, 0)), 0), "
        "started = nullif(max(coalesce(started, 0), coalesce(excluded.started, 0)), 0) "
        "WHERE reason = '' AND excluded.reason <> '' OR excluded.stopped > coalesce(stopped, 0) "
        "OR excluded.started > coalesce(started, 0)",
    ),
    "erased": ("INSERT OR IGNORE INTO tombstones (mark, at) SELECT mark, at FROM old.tombstones",),
    "revocations": (
        "INSERT INTO revocations (name, before, until, at) SELECT name, before, until, at "
        "FROM old.revocations WHERE true ON CONFLICT (name) DO UPDATE SET "
        "before = max(before, excluded.before), "
        "until = max(until, excluded.until) WHERE excluded.before > before OR excluded.until > until",
    ),
    "canceled": (
        "UPDATE campaigns SET control = 'cancel' WHERE control <> 'cancel' AND finished IS NULL "
        "AND id IN (SELECT id FROM old.campaigns WHERE control = 'cancel')",
        "UPDATE messages SET canceled = coalesce(messages.canceled, o.canceled), "
        "recalled = coalesce(messages.recalled, o.recalled) FROM old.messages AS o "
        "WHERE o.tid = messages.tid AND o.mid = messages.mid AND "
        "(messages.canceled IS NULL AND o.canceled IS NOT NULL "
        "OR messages.recalled IS NULL AND o.recalled IS NOT NULL)",
    ),
    #: Receipts that are not merged yet, STOPs among them, and which were: a repeated START is none; channels
    #: that were taken back of a thread; the log.
    "rest": (
        "INSERT OR IGNORE INTO inbox (id, record) SELECT id, record FROM old.inbox "
        "WHERE id NOT IN (SELECT id FROM receipts_seen) ORDER BY place",
        "INSERT OR IGNORE INTO receipts_seen (id, until) SELECT id, until FROM old.receipts_seen",
        "UPDATE subscriptions SET without = trim(subscriptions.without || ' ' || o.without) "
        "FROM old.subscriptions AS o WHERE o.tid = subscriptions.tid AND o.uid = subscriptions.uid "
        "AND o.without NOT IN ('', subscriptions.without)",
        "INSERT OR IGNORE INTO choices (uid, at, item, act, how, link) "
        "SELECT uid, at, item, act, how, link FROM old.choices",
    ),
}
#: Who ever chose something in the store that is replaced, and what.
CHOSEN_BEFORE = (
    "SELECT uid, last_seen, created, given, withdrawn FROM old.recipients "
    "WHERE given <> '' OR withdrawn <> ''"
)
