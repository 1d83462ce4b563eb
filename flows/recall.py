"""Take a message back."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from msgxc.campaign import Uid
from tasks.dispatch import recall as take_back


@flow(name="recall", flow_run_name="recall {message}", persist_result=False)
def recall(thread: Uid, message: Uid) -> State[None]:
    """Stop what is unsent of a message, and replace what has arrived where the channel can do that.

    Args:
        thread: Id of its thread.
        message: Id of the message.
    """
    found = take_back(thread, message)
    return Completed(
        message=f"{found.unsent:,} unsent, {found.withdrawn:,} withdrawn, {found.seen:,} seen, "
        f"{found.beyond:,} beyond recall"
    )
