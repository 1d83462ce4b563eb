"""Every statement of the embedded store, each with its sentence."""

from msgxc.ledger import Mark

RECIPIENT_COLUMNS = (
    "uid, name, email, cell, lang, tz, channels, devices, consents, attributes, last_seen, created"
)

#: Write a recipient's whole record.
PUT_RECIPIENT = f"INSERT OR REPLACE INTO recipients ({RECIPIENT_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608 - constant text
#: Read the records of some uids; `{marks}` is one `?` each.
GET_RECIPIENTS = f"SELECT {RECIPIENT_COLUMNS} FROM recipients WHERE uid IN ({{marks}})"  # noqa: S608 - constant text
#: The next page of all recipients; `{where}` narrows.
SCAN_RECIPIENTS = f"SELECT {RECIPIENT_COLUMNS} FROM recipients WHERE uid > ?{{where}} ORDER BY uid LIMIT ?"  # noqa: S608 - constant text
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
    "DELETE FROM joins WHERE uid = ?",
)
#: One recipient's devices, and writing them back.
GET_DEVICES = "SELECT devices FROM recipients WHERE uid = ?"
SET_DEVICES = "UPDATE recipients SET devices = ? WHERE uid = ?"
#: Somebody who enlists a device is seen; whoever is not there comes into being.
APPEAR = (
    f"INSERT INTO recipients ({RECIPIENT_COLUMNS}) "  # noqa: S608 - constant text
    "VALUES (?,'','','','','',NULL,'[]','','{}',?,?) "
    "ON CONFLICT (uid) DO UPDATE SET last_seen = excluded.last_seen"
)
#: Who enlisted a device last.
OWNER = "SELECT uid FROM device_owners WHERE address = ?"
OWN = "INSERT OR REPLACE INTO device_owners (address, uid) VALUES (?,?)"
#: What a person agrees to, and by which channels.
CHOOSE = "UPDATE recipients SET consents = ?, channels = ? WHERE uid = ?"

#: The first reason stays.
SUPPRESS = "INSERT OR IGNORE INTO suppressions (address, channel, reason, since) VALUES (?,?,?,?)"
UNSUPPRESS = "DELETE FROM suppressions WHERE address = ?"
#: Which addresses are suppressed; `{marks}` is one `?` each.
SUPPRESSED = "SELECT address, reason FROM suppressions WHERE address IN ({marks})"

ADD_MEMBER = "INSERT OR IGNORE INTO cohort_members (cohort, uid) VALUES (?,?)"
REMOVE_MEMBER = "DELETE FROM cohort_members WHERE cohort = ? AND uid = ?"
DROP_COHORT = "DELETE FROM cohort_members WHERE cohort = ?"
#: Which uids are members; `{marks}` is one `?` each.
MEMBERS = "SELECT uid FROM cohort_members WHERE cohort = ? AND uid IN ({marks})"
#: The next page of a cohort.
SCAN_COHORT = "SELECT uid FROM cohort_members WHERE cohort = ? AND uid > ? ORDER BY uid LIMIT ?"
COHORT_SIZES = "SELECT cohort, count(*) FROM cohort_members GROUP BY cohort ORDER BY cohort"

PUT_THREAD = "INSERT OR REPLACE INTO threads (tid, record) VALUES (?,?)"
GET_THREAD = "SELECT record FROM threads WHERE tid = ?"
#: The next page of all threads.
SCAN_THREADS = "SELECT tid, record FROM threads WHERE tid > ? ORDER BY tid LIMIT ?"
SUBSCRIBE = "INSERT OR REPLACE INTO subscriptions (tid, uid, channels) VALUES (?,?,?)"
UNSUBSCRIBE = "DELETE FROM subscriptions WHERE tid = ? AND uid = ?"
#: The subscriptions of some uids; `{marks}` is one `?` each.
SUBSCRIPTIONS = "SELECT uid, channels FROM subscriptions WHERE tid = ? AND uid IN ({marks})"
#: The next page of a thread's subscribers.
SCAN_SUBSCRIBERS = "SELECT uid FROM subscriptions WHERE tid = ? AND uid > ? ORDER BY uid LIMIT ?"
SUBSCRIPTIONS_OF = "SELECT tid, channels FROM subscriptions WHERE uid = ?"

CAMPAIGN_COLUMNS = "id, spec, shards, created, control, count, digest, finished"
#: The first campaign of an id stays.
CREATE_CAMPAIGN = (
    "INSERT OR IGNORE INTO campaigns (id, spec, shards, created, control, message) VALUES (?,?,?,?,?,?)"
)
GET_CAMPAIGN = f"SELECT {CAMPAIGN_COLUMNS} FROM campaigns WHERE id = ?"  # noqa: S608 - constant text
#: The next page of all campaigns.
SCAN_CAMPAIGNS = f"SELECT {CAMPAIGN_COLUMNS} FROM campaigns WHERE message = 0 AND id > ? ORDER BY id LIMIT ?"  # noqa: S608 - constant text
#: The next page of all that deliver one message.
SCAN_MESSAGE_CAMPAIGNS = SCAN_CAMPAIGNS.replace("message = 0", "message = 1")
GET_CONTROL = "SELECT control FROM campaigns WHERE id = ?"
#: A cancel is final.
SET_CONTROL = "UPDATE campaigns SET control = ? WHERE id = ? AND control <> 'cancel'"
#: Whether an audience is still open.
UNSEALED = "SELECT 1 FROM campaigns WHERE id = ? AND count IS NULL"
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

#: Take the lease where nobody holds it: the one compare-and-set. Answers the new epoch.
CLAIM = (
    "INSERT INTO leases (campaign, shard, owner, epoch, until) VALUES (?,?,?,1,?) "
    "ON CONFLICT (campaign, shard) DO UPDATE SET owner = excluded.owner, epoch = epoch + 1, "
    "until = excluded.until WHERE finished = 0 AND until <= ? RETURNING epoch"
)
#: Move the end of a lease that is still ours (a release: to when the shard may be claimed again).
RENEW = (
    "UPDATE leases SET until = ? "
    "WHERE campaign = ? AND shard = ? AND owner = ? AND epoch = ? AND finished = 0"
)
FINISH_SHARD = "UPDATE leases SET finished = 1 WHERE campaign = ? AND shard = ? AND owner = ? AND epoch = ?"
#: Whether a lease is just as its owner knows it.
OWNED = (
    "SELECT 1 FROM leases "
    "WHERE campaign = ? AND shard = ? AND owner = ? AND epoch = ? AND until = ? AND finished = 0"
)
#: What is known of a range of shards' leases.
LEASES = "SELECT shard, until, finished FROM leases WHERE campaign = ? AND shard >= ? AND shard < ?"

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
FORGET_MESSAGES = "DELETE FROM messages WHERE tid = ?"
COUNT_MESSAGES = "SELECT count(*) FROM (SELECT 1 FROM messages WHERE tid = ? AND mid > ? LIMIT ?)"

#: A mark moves forward only.
MARK_READ = (
    "INSERT INTO reads (tid, uid, device, mid) VALUES (?,?,?,?) "
    "ON CONFLICT (tid, uid, device) DO UPDATE SET mid = max(mid, excluded.mid)"
)
#: How far (thread, person) is read on any device; `{pairs}` is one `(?,?)` each.
LAST_READ = "SELECT uid, max(mid) FROM reads WHERE (tid, uid) IN (VALUES {pairs}) GROUP BY tid, uid"
READS_OF = "SELECT tid, device, mid FROM reads WHERE uid = ?"

_ITEM = "urgency, due, mid, step, tid, kind, since, tries"
ADD_ITEM = f"INSERT OR REPLACE INTO triage ({_ITEM}) VALUES (?,?,?,?,?,?,?,?)"  # noqa: S608 - constant text
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
