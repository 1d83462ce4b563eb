"""Who may do what in a thread. Pure; each answers nothing, or raises Forbidden with a stable code."""

from __future__ import annotations

from msgxc.errors import Forbidden
from msgxc.messages.records import Draft, Message, Principal, Role
from msgxc.model import Thread, Urgency


def may_publish(principal: Principal, thread: Thread) -> None:
    """An open thread, unless it is the exchange's own: anybody; else its owner, admins and publishers, or a
    service. Not when it is disabled or archived. Codes: thread_archived, thread_disabled, not_a_publisher."""
    if thread.archived:
        raise Forbidden("the thread is archived", "thread_archived")
    if thread.channels == frozenset():
        raise Forbidden("the thread is disabled", "thread_disabled")
    is_open = thread.open_to_publish and not thread.system
    if is_open or is_staff(principal, thread):
        return
    raise Forbidden("only publishers of the thread may do that", "not_a_publisher")


def may_say(principal: Principal, thread: Thread, draft: Draft) -> None:
    """What publishing this draft needs. Beyond `may_publish`: to every open connection, the right to address
    everybody; as the exchange itself, to be of the staff of a system thread (or a service, an operator); more
    urgent than the thread, to be of its staff. Codes: not_an_operator, not_of_the_system, too_urgent."""
    may_publish(principal, thread)
    if draft.broadcast:
        may_address(principal)
    staff = is_staff(principal, thread)
    if draft.system and not (by_role(principal) or (thread.system and staff)):
        raise Forbidden("only the staff of a system thread may speak for the exchange", "not_of_the_system")
    if draft.urgency is not None and draft.urgency > thread.urgency and not staff:
        raise Forbidden(
            "only staff of the thread and services may be more urgent than the thread", "too_urgent"
        )


def may_reach(principal: Principal, thread: Thread, people: int, most: int) -> None:
    """Whoever is not of the thread's staff speaks to at most `most` subscribers; 0: to any number. Code:
    too_many_subscribers."""
    if most and people > most and not is_staff(principal, thread):
        raise Forbidden(
            f"only staff may publish in a thread of more than {most:,} subscribers", "too_many_subscribers"
        )


def may_come_out(message: Message, thread: Thread) -> None:
    """Whether a scheduled message may still be said, at its time: its sender's right may have been taken
    away, the thread closed. Codes as of may_publish. One that was stored by a version that did not write down
    whose right it was is taken for a service's."""
    may_publish(said_by(message), thread)


def said_by(message: Message) -> Principal:
    """Whoever has said a message, with the right that it was said by."""
    as_service = message.sender is None or message.by_role is not False
    return Principal(message.sender, frozenset({Role.SERVICE if as_service else Role.USER}))


def urgency_now(message: Message, thread: Thread) -> Urgency:
    """How urgent a scheduled message is at its time: no more than its thread, unless its sender is of the
    staff still."""
    if is_staff(said_by(message), thread):
        return message.urgency
    return min(message.urgency, thread.urgency)


def by_role(principal: Principal) -> bool:
    """Services and operators: what they may do does not hang on the thread."""
    return principal.has(Role.SERVICE, Role.ADMIN)


def is_staff(principal: Principal, thread: Thread) -> bool:
    """Owner, admins and publishers of the thread; services and operators."""
    uid = principal.uid
    own = uid is not None and (uid == thread.owner or uid in thread.admins or uid in thread.publishers)
    return own or by_role(principal)


def may_subscribe(principal: Principal, thread: Thread, *, invited: bool = False) -> None:
    """An open thread: anybody; else staff and whoever was invited. Codes: thread_archived, not_invited."""
    if thread.archived:
        raise Forbidden("the thread is archived", "thread_archived")
    if thread.open or invited or is_staff(principal, thread):
        return
    raise Forbidden("the thread is closed: ask to join, or be invited", "not_invited")


def may_read(principal: Principal, thread: Thread, *, subscribed: bool = False) -> None:
    """Subscribers, staff and services; an open thread: anybody. Code: not_a_subscriber."""
    if thread.open or subscribed or is_staff(principal, thread):
        return
    raise Forbidden("only subscribers of the thread may do that", "not_a_subscriber")


def may_manage(principal: Principal, thread: Thread) -> None:
    """The owner and admins of the thread, and operators. Code: not_an_admin."""
    own = principal.uid is not None and (principal.uid == thread.owner or principal.uid in thread.admins)
    if not own and not principal.has(Role.ADMIN):
        raise Forbidden("only admins of the thread may do that", "not_an_admin")


def may_address(principal: Principal) -> None:
    """Send, multicast and broadcast: operators and services. Code: not_an_operator."""
    if not by_role(principal):
        raise Forbidden("only operators and services may do that", "not_an_operator")
