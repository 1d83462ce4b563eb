"""Who may do what in a thread. Pure; each answers nothing, or raises Forbidden with a stable code."""

from __future__ import annotations

from msgxc.errors import Forbidden
from msgxc.messages.records import Principal, Role
from msgxc.model import Thread


def may_publish(principal: Principal, thread: Thread) -> None:
    """An open thread, unless it is the exchange's own: anybody; else its owner, admins and publishers, or a
    service. Not when it is disabled or archived. Codes: thread_archived, thread_disabled, not_a_publisher."""
    if thread.archived:
        raise Forbidden("the thread is archived", "thread_archived")
    if thread.channels == frozenset():
        raise Forbidden("the thread is disabled", "thread_disabled")
    is_open = thread.open_to_publish and not thread.system
    if is_open or principal.has(Role.SERVICE, Role.ADMIN) or _of_staff(principal, thread):
        return
    raise Forbidden("only publishers of the thread may do that", "not_a_publisher")


def may_subscribe(principal: Principal, thread: Thread, *, invited: bool = False) -> None:
    """An open thread: anybody; else staff and whoever was invited. Codes: thread_archived, not_invited."""
    if thread.archived:
        raise Forbidden("the thread is archived", "thread_archived")
    if thread.open or invited or principal.has(Role.SERVICE, Role.ADMIN) or _of_staff(principal, thread):
        return
    raise Forbidden("the thread is closed: ask to join, or be invited", "not_invited")


def may_read(principal: Principal, thread: Thread, *, subscribed: bool = False) -> None:
    """Subscribers, staff and services; an open thread: anybody. Code: not_a_subscriber."""
    if thread.open or subscribed or principal.has(Role.SERVICE, Role.ADMIN) or _of_staff(principal, thread):
        return
    raise Forbidden("only subscribers of the thread may do that", "not_a_subscriber")


def may_manage(principal: Principal, thread: Thread) -> None:
    """The owner and admins of the thread, and operators. Code: not_an_admin."""
    own = principal.uid is not None and (principal.uid == thread.owner or principal.uid in thread.admins)
    if not own and not principal.has(Role.ADMIN):
        raise Forbidden("only admins of the thread may do that", "not_an_admin")


def may_address(principal: Principal) -> None:
    """Send, multicast and broadcast: operators and services. Code: not_an_operator."""
    if not principal.has(Role.ADMIN, Role.SERVICE):
        raise Forbidden("only operators and services may do that", "not_an_operator")


def _of_staff(principal: Principal, thread: Thread) -> bool:
    uid = principal.uid
    return uid is not None and (uid == thread.owner or uid in thread.admins or uid in thread.publishers)
