"""Take a campaign or a message back."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from msgxc.campaign import MessageOrNone, NameOrNone, Recall, UidOrNone, filled_in
from tasks.dispatch import recall as take_back
from tasks.dispatch import recalled_name
from tasks.own_run import ending


@flow(name="recall", flow_run_name=recalled_name, persist_result=False, validate_parameters=False)
def recall(
    campaign: NameOrNone = None, message: MessageOrNone = None, thread: UidOrNone = None
) -> State[None]:
    """Stop what is unsent, and replace what has arrived of a message where the channel can do that.

    Args:
        campaign: Name of a campaign; or:
        message: One of the latest messages, or its id, as `msgxc messages list` shows it.
        thread: Id of the message's thread; seldom needed.
    """
    with ending() as end:
        asked = filled_in(Recall, {"campaign": campaign, "message": message, "thread": thread})
        end.state = Completed(message=take_back(asked.campaign, asked.message, asked.thread).told())
    return end.state
