"""Twilio's webhooks: their signature, status callbacks and replies such as STOP, in our words. Pure.

Rules: twilio.com/docs, "Webhooks security" (HMAC-SHA1 over the public URL and the sorted parameters),
"Messages resource" (status), "Error and warning dictionary", "Advanced opt-out" (OptOutType).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha1
from hmac import compare_digest, digest
from unicodedata import combining, normalize

from msgxc import ids
from msgxc.links import Handle
from msgxc.model import Channel
from msgxc.providers.sms import NUMBER
from msgxc.store.gateway import News, Received

SIGNATURE = "x-twilio-signature"
#: `failed` and `undelivered` come after the message was accepted, and are worse news: they count as bounced.
STATUSES: Mapping[str, News] = {
    "queued": News.ACCEPTED,
    "accepted": News.ACCEPTED,
    "sending": News.ACCEPTED,
    "sent": News.ACCEPTED,
    "delivered": News.DELIVERED,
    "read": News.READ,
    "undelivered": News.BOUNCED,
    "failed": News.BOUNCED,
}
#: The error code of a number that said STOP to Twilio ("Attempt to send to unsubscribed recipient").
STOPPED = "21610"
#: Error codes that are about the number, for good: nothing is sent there any more. Others suppress nobody.
#: About now, the next message may arrive: 30001 (queue full), 30003 (handset off or out of reach), 30008
#: (unknown), 30017 (carrier congested), 30410 (carrier's timeout). About our account, sender or text, and so
#: about settings: 21408 (region not allowed), 21612 (no route from our sender), 30002 (account suspended),
#: 30004 and 30007 (blocked, filtered), 30023 (our daily cap), 30034 (sender not registered), …
DEAD_NUMBERS: Mapping[str, str] = {
    "21211": "invalid_address",  # no phone number
    "21614": "invalid_address",  # no mobile number
    "21635": "invalid_address",  # a landline, in a country where Twilio does not even try
    "30005": "invalid_address",  # its carrier does not know it: as a mailbox that is unknown
    "30006": "invalid_address",  # a landline; but see SENDERS
}
#: 30006 is "a landline or, in the case of short codes, an unreachable carrier": of a sender that is no whole
#: number it says nothing about the number that was sent to.
SENDERS = frozenset({"30006"})
#: What a person replies who wants nothing more: Twilio's default words, the CTIA's, those of 47 CFR
#: 64.1200(a)(10) and what says as much, and how it is said in the languages of the example people.
#: Or who wants everything again.
STOP = (
    "stop stopall unsubscribe cancel end quit revoke optout nomore removeme leavemealone donottextme "
    "donttextme donotcontactme dontcontactme takemeoff takemeoffyourlist takemeoffthelist "
    "removemefromyourlist removemefromthelist revokeconsent revokemyconsent irevokemyconsent "
    "iwithdrawmyconsent withdrawmyconsent quittexting quittextingme nomoretexts nomoremessages "
    "stopp abmelden abmeldung abbestellen keinesmsmehr arret arreter arretez desabonner "
    "desinscription baja parar cancelar توقف إيقاف إلغاءالاشتراك 停止 配信停止 配信解除 解除"
)
START = frozenset({"start", "yes", "unstop"})
#: Beside which of them others may stand that say nothing more: "please stop texting me". Not "cancel it".
CLEAR = "stop unsubscribe optout nomore stopp abmelden desabonner"
BESIDE = (
    "please pls all now me us it this these the to and text texts texting message messages messaging sms "
    "sending from thanks thank you your list i want would like wish of my number bitte alle mich merci svp"
)
#: What may stand beside any of STOP: "please end", "cancel, thanks".
POLITE = "please pls now thanks thank you bitte danke svp merci"
LONGEST = 1_600  # characters of a text message that are looked at: Twilio joins no more
_WORD = re.compile(r"\w+")
#: Words that say it together.
_ONE_WORD = re.compile(r"\b(opt)\W+(out)\b|\b(no)\W+(more)\b")


def signature(token: str, url: str, form: Sequence[tuple[str, str]]) -> str:
    """What Twilio writes into X-Twilio-Signature."""
    text = url + "".join(f"{name}{value}" for name, value in sorted(set(form)))
    return b64encode(digest(token.encode(), text.encode(), sha1)).decode()


def is_signed(token: str, url: str, form: Sequence[tuple[str, str]], given: str) -> bool:
    """Whether Twilio signed just this."""
    return compare_digest(signature(token, url, form).encode(), given.encode("utf-8", "replace"))


def status(key: bytes, handle: Handle | None, form: Mapping[str, str], now: datetime) -> list[Received]:
    """What a status callback tells; nothing for a status that we do not know, or somebody else's message."""
    said = form.get("MessageStatus") or form.get("SmsStatus") or ""
    news = STATUSES.get(said)
    code = form.get("ErrorCode", "")
    code = code if code.isascii() and code.isdigit() and len(code) < 7 else ""
    if news is None or (handle and handle.channel is not Channel.SMS):
        return []
    of_number = code not in SENDERS or NUMBER.fullmatch(form.get("From", ""))
    reason = DEAD_NUMBERS.get(code, "") if news is News.BOUNCED and of_number else ""
    address = _address(key, form.get("To", "")) if reason else b""
    named = (form.get("MessageSid"), said, handle and handle.delivery)
    found: list[Received] = []
    if code == STOPPED and news is News.BOUNCED and (number := _address(key, form.get("To", ""))):
        identity = ids.receipt_id(key, "twilio", f"{form.get('MessageSid')}\0{STOPPED}")
        found = [Received(identity, News.STOPPED, Channel.SMS, now, address=number, reason="stopped")]
    if handle is None and not address:
        return found
    return [
        *found,
        Received(
            id=ids.receipt_id(key, "twilio", "\0".join(map(str, named))),
            news=news,
            channel=Channel.SMS,
            at=now,
            campaign=handle.campaign if handle else None,
            uid=handle.uid if handle else None,
            delivery=handle.delivery if handle else None,
            address=address,
            reason=reason or ("stopped" if found else said if news is News.BOUNCED else ""),
            code=code,
        ),
    ]


def reply(key: bytes, form: Mapping[str, str], now: datetime) -> list[Received]:
    """What a text message to us means: STOP, START, or nothing that we act on."""
    news = wish(form.get("OptOutType") or form.get("Body", ""))
    address = _address(key, form.get("From", ""))
    if news is None or not address:
        return []
    identity = ids.receipt_id(key, "twilio", f"{form.get('MessageSid')}\0reply")
    return [Received(identity, news, Channel.SMS, now, address=address, reason="stopped")]


def wish(text: str) -> News | None:
    """What somebody wants who replies that: STOP however it is written (full width, with accents, "opt-out",
    with words that say nothing else), START as just that word. None: something else, "don't stop" for one."""
    words = _words(text)
    said, joined = set(words), "".join(words)
    bare = "".join(word for word in words if word not in _POLITE)
    if joined in _STOP or bare in _STOP or (said & _CLEAR and said <= _CLEAR | _BESIDE):
        return News.STOPPED
    return News.STARTED if joined in START else None


def _words(text: str) -> list[str]:
    """The words of a text, without accents, in lower case and in plain letters."""
    plain = normalize("NFKD", text[:LONGEST]).casefold()
    letters = "".join(letter for letter in plain if not combining(letter))
    return _WORD.findall(_ONE_WORD.sub(lambda two: "".join(filter(None, two.groups())), letters))


_STOP, _CLEAR, _BESIDE, _POLITE = (frozenset(_words(words)) for words in (STOP, CLEAR, BESIDE, POLITE))


def _address(key: bytes, number: str) -> bytes:
    """Of a number, or of a channel's address, as whatsapp:+15005550006."""
    number = number.rpartition(":")[2]
    return ids.address_hash(key, Channel.SMS, number) if NUMBER.fullmatch(number) else b""
