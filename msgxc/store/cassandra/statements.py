"""Every statement of the shared store, each with its sentence. `{ks}` is the keyspace.

A statement with IF is a compare-and-set: one Paxos round on its partition. All others may run twice.
"""

# ruff: noqa: S608 - Only constant text is put together here.

from __future__ import annotations

# -- recipients

_RECIPIENT = "uid, name, email, cell, lang, tz, channels, devices, consents, attributes, last_seen, created"
#: Write a recipient's whole record: what is null or not in a map is removed; what they chose stays.
PUT_RECIPIENT = f"INSERT INTO {{ks}}.recipients ({_RECIPIENT}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
#: Read the records of some uids; one request for many, their replicas answer the coordinator.
GET_RECIPIENTS = f"SELECT {_RECIPIENT}, given, withdrawn FROM {{ks}}.recipients WHERE uid IN ?"
#: The recipients of a range of tokens.
SCAN_RECIPIENTS = (
    f"SELECT {_RECIPIENT}, given, withdrawn FROM {{ks}}.recipients WHERE token(uid) > ? AND token(uid) <= ?"
)
#: The uids of a range of tokens.
SCAN_UIDS = "SELECT uid FROM {ks}.recipients WHERE token(uid) > ? AND token(uid) <= ?"
#: How many recipients a range of tokens has.
COUNT_RECIPIENTS = "SELECT count(*) FROM {ks}.recipients WHERE token(uid) > ? AND token(uid) <= ?"
#: Keep that somebody was erased, forget it, ask for it.
BURY = "INSERT INTO {ks}.tombstones (mark, at) VALUES (?,?)"
UNBURY = "DELETE FROM {ks}.tombstones WHERE mark = ?"
BURIED = "SELECT mark FROM {ks}.tombstones WHERE mark IN ?"
#: Whose the devices are that were enlisted, of a range of tokens; forget one.
SCAN_OWNERS = "SELECT address, uid FROM {ks}.device_owners WHERE token(address) > ? AND token(address) <= ?"
DISOWN = "DELETE FROM {ks}.device_owners WHERE address = ? IF uid = ?"
#: Remove a recipient's record.
ERASE_RECIPIENT = "DELETE FROM {ks}.recipients WHERE uid = ?"
#: One device, and when it was written.
GET_DEVICE = "SELECT devices[?], writetime(devices[?]) FROM {ks}.recipients WHERE uid = ?"
#: Remove a device as it was read: a write that is younger than the timestamp is not touched.
PRUNE_DEVICE = "DELETE devices[?] FROM {ks}.recipients USING TIMESTAMP ? WHERE uid = ?"

#: The places of a person's devices.
GET_PLACES = "SELECT devices FROM {ks}.recipients WHERE uid = ?"
#: Somebody who enlists a device and was not there.
APPEAR = "INSERT INTO {ks}.recipients (uid, created) VALUES (?,?)"
#: Add one device, or write it again, and say that the person was seen.
ENLIST = "UPDATE {ks}.recipients SET devices = devices + ?, last_seen = ? WHERE uid = ?"
#: Somebody who is there was seen; with the time of that, so that whoever is erased meanwhile stays so.
SEEN = "UPDATE {ks}.recipients USING TIMESTAMP ? SET last_seen = ? WHERE uid = ?"
#: Who of some uids is there.
THERE = "SELECT uid FROM {ks}.recipients WHERE uid IN ?"
#: For how long some uids have been online, and of which times that knows; the first that is heard of
#: somebody; what comes after that, unless another one was quicker; forget it.
ONLINE = "SELECT uid, total, lately FROM {ks}.online WHERE uid IN ?"
ONLINE_FIRST = "INSERT INTO {ks}.online (total, lately, uid) VALUES (?,?,?) IF NOT EXISTS"
ONLINE_NOW = "UPDATE {ks}.online SET total = ?, lately = ? WHERE uid = ? IF total = ? AND lately = ?"
FORGET_ONLINE = "DELETE FROM {ks}.online WHERE uid = ? IF EXISTS"
#: Who enlisted a device last; the first; another one than before.
OWNER = "SELECT uid FROM {ks}.device_owners WHERE address = ?"
OWN_FIRST = "INSERT INTO {ks}.device_owners (address, uid) VALUES (?,?) IF NOT EXISTS"
OWN_NOW = "UPDATE {ks}.device_owners SET uid = ? WHERE address = ? IF uid = ?"
#: What a change has to know of some uids.
GET_KNOWN = "SELECT uid, devices, last_seen, given FROM {ks}.recipients WHERE uid IN ?"
#: Set the fields that have a value, and add to the maps: what is unset stays as it is.
CHANGE = (
    "UPDATE {ks}.recipients SET name = ?, email = ?, cell = ?, lang = ?, tz = ?, channels = ?, consents = ?, "
    "last_seen = ?, created = ?, attributes = attributes + ?, devices = devices + ?, given = given + ? "
    "WHERE uid = ?"
)
#: What a row takes away of what somebody had given.
DROP_GIVEN = "UPDATE {ks}.recipients SET given = given - ? WHERE uid = ?"
#: What somebody gives and takes back: each item by itself, so that calls at the same time add up. By
#: compare-and-set, so that nobody comes into being who was erased.
CHOOSE = "UPDATE {ks}.recipients SET given = given + ?, withdrawn = withdrawn + ? WHERE uid = ? IF EXISTS"
#: What some uids chose.
CHOICES = "SELECT uid, given, withdrawn FROM {ks}.recipients WHERE uid IN ?"
#: The log of choices.
SAY = "INSERT INTO {ks}.choices (uid, at, item, act, how, link) VALUES (?,?,?,?,?,?)"
SAID = "SELECT at, item, act, how, link FROM {ks}.choices WHERE uid = ?"
#: What else is under somebody's uid.
ERASE_UNDER_UID = (
    "DELETE FROM {ks}.choices WHERE uid = ?",
    "DELETE FROM {ks}.reading_devices WHERE uid = ?",
    "DELETE FROM {ks}.scheduled WHERE sender = ?",
)

#: Suppress an address; the first reason stays.
SUPPRESS = (
    "UPDATE {ks}.suppressions SET channel = ?, reason = ?, since = ? WHERE address = ? IF reason = null"
)
#: A STOP and a START of an address, by whether it is a STOP: written with its own time, so the newest stays.
WISH = {
    stop: f"UPDATE {{ks}}.suppressions USING TIMESTAMP ? SET {name} = ? WHERE address = ?"
    for stop, name in ((True, "stopped"), (False, "started"))
}
#: What is known of some addresses.
SUPPRESSED = "SELECT address, reason, since, stopped, started FROM {ks}.suppressions WHERE address IN ?"

# -- cohorts

#: Say that there is such a cohort.
NAME_COHORT = "INSERT INTO {ks}.cohorts (cohort) VALUES (?)"
#: All cohorts.
COHORTS = "SELECT cohort FROM {ks}.cohorts"
#: Forget the cohort's name.
UNNAME_COHORT = "DELETE FROM {ks}.cohorts WHERE cohort = ?"
#: Add one member.
ADD_MEMBER = "INSERT INTO {ks}.cohort_members (cohort, bucket, uid) VALUES (?,?,?)"
#: Remove one member.
REMOVE_MEMBER = "DELETE FROM {ks}.cohort_members WHERE cohort = ? AND bucket = ? AND uid = ?"
#: Remove a bucket of a cohort.
DROP_BUCKET = "DELETE FROM {ks}.cohort_members WHERE cohort = ? AND bucket = ?"
#: Which of some uids are in a bucket.
MEMBERS = "SELECT uid FROM {ks}.cohort_members WHERE cohort = ? AND bucket = ? AND uid IN ?"
#: The members in a bucket.
SCAN_BUCKET = "SELECT uid FROM {ks}.cohort_members WHERE cohort = ? AND bucket = ?"
#: How many members a bucket has.
COUNT_BUCKET = "SELECT count(*) FROM {ks}.cohort_members WHERE cohort = ? AND bucket = ?"

# -- threads

_THREAD = (
    "tid, name, owner, open, open_to_publish, channels, fallback, child_channels, urgency, archived, "
    "admins, publishers, system, ephemeral, template"
)
#: Write a thread's whole record.
PUT_THREAD = f"INSERT INTO {{ks}}.threads ({_THREAD}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
#: Read a thread.
GET_THREAD = f"SELECT {_THREAD} FROM {{ks}}.threads WHERE tid = ?"
#: The threads of a range of tokens.
SCAN_THREADS = f"SELECT {_THREAD} FROM {{ks}}.threads WHERE token(tid) > ? AND token(tid) <= ?"
#: Write a thread's staff.
PUT_STAFF = "UPDATE {ks}.threads SET owner = ?, admins = ?, publishers = ? WHERE tid = ?"
#: Write a whole subscription: nothing that was taken back stays so.
SUBSCRIBE = "INSERT INTO {ks}.subscriptions (tid, bucket, uid, channels, without) VALUES (?,?,?,?,null)"
#: The same as somebody else says: channels that are unset, and those that were taken back, stay so.
ENTER = "INSERT INTO {ks}.subscriptions (tid, bucket, uid, channels) VALUES (?,?,?,?)"
#: A subscriber takes channels back; by compare-and-set, so that nobody is subscribed by it.
LEAVE = (
    "UPDATE {ks}.subscriptions SET without = without + ? WHERE tid = ? AND bucket = ? AND uid = ? IF EXISTS"
)
#: Remove a subscription.
UNSUBSCRIBE = "DELETE FROM {ks}.subscriptions WHERE tid = ? AND bucket = ? AND uid = ?"
#: The subscriptions of some uids in a bucket.
SUBSCRIPTIONS = (
    "SELECT uid, channels, without FROM {ks}.subscriptions WHERE tid = ? AND bucket = ? AND uid IN ?"
)
#: The subscribers in a bucket.
SCAN_SUBSCRIBERS = "SELECT uid FROM {ks}.subscriptions WHERE tid = ? AND bucket = ?"
#: The first subscribers in a bucket.
SOME_SUBSCRIBERS = "SELECT uid FROM {ks}.subscriptions WHERE tid = ? AND bucket = ? LIMIT ?"
#: Note that a recipient subscribes to a thread: written before the subscription, removed after it.
NOTE_THREAD = "INSERT INTO {ks}.subscriptions_by_recipient (uid, tid) VALUES (?,?)"
#: Forget that note.
UNNOTE_THREAD = "DELETE FROM {ks}.subscriptions_by_recipient WHERE uid = ? AND tid = ?"
#: The threads that a recipient subscribes to.
THREADS_OF = "SELECT tid FROM {ks}.subscriptions_by_recipient WHERE uid = ?"
#: Some of them.
SOME_THREADS_OF = "SELECT tid FROM {ks}.subscriptions_by_recipient WHERE uid = ? LIMIT ?"
#: One person's subscription.
SUBSCRIPTION = "SELECT channels, without FROM {ks}.subscriptions WHERE tid = ? AND bucket = ? AND uid = ?"

# -- campaigns: changed by compare-and-set alone

_CAMPAIGN = "id, spec, shards, created, control, count, digest, finished, told"
#: The first campaign of an id stays.
CREATE_CAMPAIGN = (
    "INSERT INTO {ks}.campaigns (id, spec, shards, created, control) VALUES (?,?,?,?,?) IF NOT EXISTS"
)
#: The same for one with its audience and seal.
CREATE_SEALED = (
    "INSERT INTO {ks}.campaigns (id, spec, shards, created, control, count, digest) VALUES (?,?,?,?,?,?,?) "
    "IF NOT EXISTS"
)
#: Read a campaign.
GET_CAMPAIGN = f"SELECT {_CAMPAIGN} FROM {{ks}}.campaigns WHERE id = ?"
#: The campaigns of a range of tokens.
SCAN_CAMPAIGNS = f"SELECT {_CAMPAIGN} FROM {{ks}}.campaigns WHERE token(id) > ? AND token(id) <= ?"
#: The operator's wish.
GET_CONTROL = "SELECT control FROM {ks}.campaigns WHERE id = ?"
#: Change the operator's wish; a cancel is final, and what was restored is only canceled or resumed.
SET_CONTROL = "UPDATE {ks}.campaigns SET control = ? WHERE id = ? IF control IN ('run', 'pause')"
CANCEL = "UPDATE {ks}.campaigns SET control = ? WHERE id = ? IF control IN ('run', 'pause', 'restored')"
RESUME_RESTORED = "UPDATE {ks}.campaigns SET control = 'run' WHERE id = ? IF control = 'restored'"
#: Note when a campaign is made, and read what was made since a time: written before the campaign.
NOTE_CREATED = "INSERT INTO {ks}.campaigns_by_day (day, created, id) VALUES (?,?,?)"
CREATED_SINCE = "SELECT id FROM {ks}.campaigns_by_day WHERE day = ? AND created >= ?"
#: Fix the audience; the first seal stays. The second condition keeps an unknown campaign unknown.
SEAL = "UPDATE {ks}.campaigns SET count = ?, digest = ? WHERE id = ? IF count = null AND shards > 0"
#: Whether the audience is fixed, and who expands it: until it is, `digest` holds the last one's token.
GET_SEALER = "SELECT count, digest, shards FROM {ks}.campaigns WHERE id = ?"
#: Expand it in the place of whoever was seen.
BEGIN = "UPDATE {ks}.campaigns SET digest = ? WHERE id = ? IF count = null AND digest = ? AND shards > 0"
#: Fix the audience, unless somebody else expands it now.
SEAL_AS = (
    "UPDATE {ks}.campaigns SET count = ?, digest = ? WHERE id = ? "
    "IF count = null AND digest = ? AND shards > 0"
)
#: The campaign's end; the first time stays.
FINISH_CAMPAIGN = "UPDATE {ks}.campaigns SET finished = ? WHERE id = ? IF finished = null AND shards > 0"
#: Remove a campaign.
FORGET_CAMPAIGN = "DELETE FROM {ks}.campaigns WHERE id = ? IF EXISTS"


def with_time(statement: str) -> str:
    """A change of the operator's wish that notes when it was made."""
    return statement.replace("SET control = ?", "SET control = ?, told = ?")


def of_message(statement: str) -> str:
    """The same for the campaign of a message: they have a table of their own, so that the campaigns that
    people started are found without reading all messages."""
    return statement.replace("{ks}.campaigns ", "{ks}.message_campaigns ")


# -- audiences

#: Add one recipient to a shard.
EXPAND = "INSERT INTO {ks}.audience (campaign, shard, uid) VALUES (?,?,?)"
#: The same in the name of a token, a time in microseconds. Whoever begins later has removed it, even before
#: it arrives: see CLEAR.
EXPAND_AS = "INSERT INTO {ks}.audience (campaign, shard, uid) VALUES (?,?,?) USING TIMESTAMP ?"
#: Remove all that is, or ever will be, written to a shard's audience with a time up to this one.
CLEAR = "DELETE FROM {ks}.audience USING TIMESTAMP ? WHERE campaign = ? AND shard = ?"
#: The recipients of a shard.
SHARD_MEMBERS = "SELECT uid FROM {ks}.audience WHERE campaign = ? AND shard = ?"

# -- leases: changed by compare-and-set alone, one partition each

#: What is known of a lease.
GET_LEASE = "SELECT owner, epoch, claim, until, finished FROM {ks}.leases WHERE campaign = ? AND shard = ?"
#: Until when some shards are held or parked, and which are finished: of those that were ever claimed.
GET_LEASES = "SELECT shard, until, finished FROM {ks}.leases WHERE campaign = ? AND shard IN ?"
#: Who has taken some shards; without owner: nobody has now.
GET_HELD = "SELECT shard, owner, epoch, until, finished FROM {ks}.leases WHERE campaign = ? AND shard IN ?"
#: Take a lease that nobody ever had.
CLAIM_FIRST = (
    "INSERT INTO {ks}.leases (campaign, shard, owner, epoch, claim, until, finished) "
    "VALUES (?,?,?,1,?,?,false) IF NOT EXISTS"
)
#: Take a lease over from the claim that was seen, unless it was renewed or finished meanwhile.
TAKE_OVER = (
    "UPDATE {ks}.leases SET owner = ?, epoch = ?, claim = ?, until = ? WHERE campaign = ? AND shard = ? "
    "IF epoch = ? AND claim = ? AND until = ? AND finished = false"
)
#: Move the end of a lease that is still ours.
RENEW = (
    "UPDATE {ks}.leases SET until = ? WHERE campaign = ? AND shard = ? "
    "IF owner = ? AND epoch = ? AND finished = false"
)
#: Let go of a lease that is still ours: without owner, until it may be claimed again.
RELEASE = (
    "UPDATE {ks}.leases SET owner = '', until = ? WHERE campaign = ? AND shard = ? "
    "IF owner = ? AND epoch = ? AND finished = false"
)
#: Nothing is left to send.
FINISH_SHARD = (
    "UPDATE {ks}.leases SET finished = true WHERE campaign = ? AND shard = ? IF owner = ? AND epoch = ?"
)

#: Who holds a lease.
GET_HOLDER = "SELECT campaign, owner, until FROM {ks}.leases WHERE campaign = ? AND shard = 0"

# -- windows and results

#: Write what a window is about to send; whether it is done is left as it is.
OPEN_WINDOW = "INSERT INTO {ks}.windows (campaign, shard, epoch, number, intents) VALUES (?,?,?,?,?)"
#: Every intent of the window has its result.
CLOSE_WINDOW = (
    "UPDATE {ks}.windows SET done = true WHERE campaign = ? AND shard = ? AND epoch = ? AND number = ?"
)
#: The windows of a shard, in order.
SHARD_WINDOWS = "SELECT epoch, number, intents, done FROM {ks}.windows WHERE campaign = ? AND shard = ?"
_RESULT = "uid, delivery, mark, at, channel, reason, code, ref, attempt"
#: Add one mark. The key holds mark and time, so nothing that is there is changed by another one.
RECORD = f"INSERT INTO {{ks}}.ledger (campaign, shard, {_RESULT}) VALUES (?,?,?,?,?,?,?,?,?,?,?)"
#: The same for a mark without reason and code, as nearly all are: what is not written is read as null.
RECORD_PLAIN = (
    "INSERT INTO {ks}.ledger (campaign, shard, uid, delivery, mark, at, channel, ref, attempt) "
    "VALUES (?,?,?,?,?,?,?,?,?)"
)
#: All marks of a shard.
SHARD_MARKS = f"SELECT {_RESULT} FROM {{ks}}.ledger WHERE campaign = ? AND shard = ?"

#: Everything of one shard of a campaign, but for its lease.
FORGET_SHARD = tuple(
    f"DELETE FROM {{ks}}.{table} WHERE campaign = ? AND shard = ?"
    for table in ("audience", "windows", "ledger")
)
#: The lease of one shard; by compare-and-set, as it was made.
FORGET_LEASE = "DELETE FROM {ks}.leases WHERE campaign = ? AND shard = ? IF EXISTS"

# -- messages

_MESSAGE = "mid, record, scheduled, canceled, completed, recalled, joined, qid"
#: Write what does not change of a message, and when it is due.
PUT_MESSAGE = "INSERT INTO {ks}.messages (tid, bucket, mid, record, scheduled) VALUES (?,?,?,?,?)"
#: Note that a thread has messages in a bucket.
NOTE_BUCKET = "INSERT INTO {ks}.message_buckets (tid, bucket) VALUES (?,?)"
#: The buckets of a thread, from either end.
BUCKETS_BEFORE = "SELECT bucket FROM {ks}.message_buckets WHERE tid = ? AND bucket <= ? ORDER BY bucket DESC"
BUCKETS_AFTER = "SELECT bucket FROM {ks}.message_buckets WHERE tid = ? AND bucket >= ?"
#: Read a message.
GET_MESSAGE = f"SELECT {_MESSAGE} FROM {{ks}}.messages WHERE tid = ? AND bucket = ? AND mid = ?"
#: A page of one bucket, backwards and forwards.
MESSAGES_BEFORE = (
    f"SELECT {_MESSAGE} FROM {{ks}}.messages WHERE tid = ? AND bucket = ? AND mid < ? "
    "ORDER BY mid DESC LIMIT ?"
)
MESSAGES_AFTER = (
    f"SELECT {_MESSAGE} FROM {{ks}}.messages WHERE tid = ? AND bucket = ? AND mid > ? ORDER BY mid LIMIT ?"
)
#: The messages of a range of tokens.
SCAN_MESSAGES = (
    f"SELECT tid, {_MESSAGE} FROM {{ks}}.messages WHERE token(tid, bucket) > ? AND token(tid, bucket) <= ?"
)
#: Write anew what does not change of one that is there.
REWRITE_MESSAGE = "UPDATE {ks}.messages SET record = ? WHERE tid = ? AND bucket = ? AND mid = ? IF EXISTS"
#: Forget a bucket, and that there is one.
FORGET_BUCKET = "DELETE FROM {ks}.messages WHERE tid = ? AND bucket = ?"
UNNOTE_BUCKET = "DELETE FROM {ks}.message_buckets WHERE tid = ? AND bucket = ?"
#: Which messages of a bucket people see, without reading what they say.
_STATES = "SELECT mid, writetime(record), scheduled, canceled, recalled FROM {ks}.messages"
STATES_BEFORE = f"{_STATES} WHERE tid = ? AND bucket = ? AND mid < ? ORDER BY mid DESC LIMIT ?"
STATES_AFTER = f"{_STATES} WHERE tid = ? AND bucket = ? AND mid > ? ORDER BY mid LIMIT ?"
#: Some messages of a bucket.
GET_MESSAGES = f"SELECT {_MESSAGE} FROM {{ks}}.messages WHERE tid = ? AND bucket = ? AND mid IN ?"
#: A message waits for its time, and is forgotten then; it waits no longer; the threads of those that wait.
PLAN = "INSERT INTO {ks}.scheduled (sender, tid, mid) VALUES (?,?,?) USING TTL ?"
UNPLAN = "DELETE FROM {ks}.scheduled WHERE sender = ? AND tid = ? AND mid = ?"
PLANNED = "SELECT tid FROM {ks}.scheduled WHERE sender = ?"
ERASE_PLANS = "DELETE FROM {ks}.scheduled WHERE sender = ?"
#: The devices under whose names a person's reading is kept; one more; none of them.
READING_DEVICES = "SELECT device FROM {ks}.reading_devices WHERE uid = ?"
ADD_READING_DEVICE = "INSERT INTO {ks}.reading_devices (uid, device) VALUES (?,?)"
ERASE_READING_DEVICES = "DELETE FROM {ks}.reading_devices WHERE uid = ?"
#: What changes of a message, one column each.
NOTE_MESSAGE = {
    name: f"UPDATE {{ks}}.messages SET {name} = ? WHERE tid = ? AND bucket = ? AND mid = ?"
    for name in ("scheduled", "canceled", "completed", "recalled")
}
#: As which a message left; the first one's word stays.
JOIN_MESSAGE = (
    "UPDATE {ks}.messages SET joined = ? WHERE tid = ? AND bucket = ? AND mid = ? "
    "IF joined = null AND record > ''"
)
#: Seal a message; the first one's seal stays. The second condition keeps an unknown message unknown.
TAKE_MESSAGE = (
    "UPDATE {ks}.messages SET qid = ? WHERE tid = ? AND bucket = ? AND mid = ? IF qid = null AND record > ''"
)
#: Whose a message is.
GET_QID = "SELECT record, qid FROM {ks}.messages WHERE tid = ? AND bucket = ? AND mid = ?"

# -- reads: written with the message's own time, so that a mark only moves forward

_MARK = "(uid, tid, device, mid) VALUES (?,?,?,?) USING TIMESTAMP ?"
#: Move a mark, in the thread and at the person.
MARK_READ = "INSERT INTO {ks}.reads (tid, bucket, uid, device, mid) VALUES (?,?,?,?,?) USING TIMESTAMP ?"
MARK_OF = f"INSERT INTO {{ks}}.reads_by_recipient {_MARK}"
#: How far some uids of a bucket have read.
LAST_READ = "SELECT uid, mid FROM {ks}.reads WHERE tid = ? AND bucket = ? AND uid IN ?"
#: How far one person has read.
READS_OF = "SELECT tid, device, mid FROM {ks}.reads_by_recipient WHERE uid = ?"
#: Forget them.
ERASE_READS = "DELETE FROM {ks}.reads WHERE tid = ? AND bucket = ? AND uid = ?"
ERASE_READS_OF = "DELETE FROM {ks}.reads_by_recipient WHERE uid = ?"

# -- triage

_ITEM = "urgency, due, mid, step, tid, kind, since, tries, turn"
#: Stand in the queue of a minute.
ADD_ITEM = f"INSERT INTO {{ks}}.triage (minute, {_ITEM}) VALUES (?,?,?,?,?,?,?,?,?,?)"
#: Note that a minute holds something; forget it.
NOTE_MINUTE = "INSERT INTO {ks}.triage_minutes (urgency, minute) VALUES (?,?)"
UNNOTE_MINUTE = "DELETE FROM {ks}.triage_minutes WHERE urgency = ? AND minute = ?"
#: The minutes of an urgency that hold something, up to one.
MINUTES = "SELECT minute FROM {ks}.triage_minutes WHERE urgency = ? AND minute <= ?"
#: The first items of a minute whose time has come.
DUE_ITEMS = f"SELECT {_ITEM} FROM {{ks}}.triage WHERE urgency = ? AND minute = ? AND due <= ? LIMIT ?"
#: All of a minute.
MINUTE_ITEMS = f"SELECT {_ITEM} FROM {{ks}}.triage WHERE urgency = ? AND minute = ?"
#: Leave the queue.
REMOVE_ITEM = "DELETE FROM {ks}.triage WHERE urgency = ? AND minute = ? AND due = ? AND mid = ? AND step = ?"

# -- budgets: changed by compare-and-set alone, forgotten after a week

#: What was spent of a budget on a day; the first of it; more of it.
BUDGET_USED = "SELECT used FROM {ks}.budgets WHERE name = ? AND day = ?"
SPEND_FIRST = "INSERT INTO {ks}.budgets (name, day, used) VALUES (?,?,?) IF NOT EXISTS USING TTL 604800"
SPEND_MORE = "UPDATE {ks}.budgets USING TTL 604800 SET used = ? WHERE name = ? AND day = ? IF used = ?"

# -- requests and invitations

_JOIN = "tid, uid, state, inviter, at"
#: Write one, at the thread and at the person; read and remove them.
PUT_JOIN = {
    table: f"INSERT INTO {{ks}}.{table} ({_JOIN}) VALUES (?,?,?,?,?)"
    for table in ("joins", "joins_by_recipient")
}
GET_JOIN = f"SELECT {_JOIN} FROM {{ks}}.joins WHERE tid = ? AND uid = ?"
#: The requests and invitations of a range of tokens, and who invited.
SCAN_JOINS = "SELECT tid, uid, inviter FROM {ks}.joins WHERE token(tid) > ? AND token(tid) <= ?"
#: Forget who invited.
UNNAME_INVITER = {
    table: f"UPDATE {{ks}}.{table} SET inviter = null WHERE tid = ? AND uid = ?"
    for table in ("joins", "joins_by_recipient")
}
JOINS_OF_THREAD = f"SELECT {_JOIN} FROM {{ks}}.joins WHERE tid = ?"
JOINS_OF_PERSON = f"SELECT {_JOIN} FROM {{ks}}.joins_by_recipient WHERE uid = ?"
REMOVE_JOIN = {
    table: f"DELETE FROM {{ks}}.{table} WHERE tid = ? AND uid = ?"
    for table in ("joins", "joins_by_recipient")
}

# -- facts about the whole store; the first word stays

GET_FACT = "SELECT value FROM {ks}.identity WHERE name = ?"
NOTE_ONCE = "INSERT INTO {ks}.identity (name, value) VALUES (?,?) IF NOT EXISTS"
#: Some of them; a number, with itself as the write time, so that the greater one stays (seen.py).
GET_FACTS = "SELECT name, value FROM {ks}.identity WHERE name IN ?"
NOTE_GREATER = "INSERT INTO {ks}.identity (name, value) VALUES (?,?) USING TIMESTAMP ?"

# -- the schema's own record (see schema.py)

#: What has been applied.
SCHEMA_STEPS = "SELECT step, finished FROM {ks}.schema_version WHERE one = true"

#: Answered in one piece: a few rows, and the server has no place to remember.
WHOLE = frozenset(
    {GET_RECIPIENTS, GET_KNOWN, CHOICES, BURIED, SUPPRESSED, GET_LEASE, GET_LEASES, GET_CONTROL, GET_SEALER}
    | {GET_FACTS, GET_HELD}
)
