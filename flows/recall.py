"""Take a campaign or a message back."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from msgxc.campaign import Slug, Uid
from tasks.dispatch import recall as take_back
from tasks.dispatch import recalled_name
from tasks.own_run import ending


@flow(name="recall", flow_run_name=recalled_name, persist_result=False)
def recall(
    campaign: Slug | None = None, message: Uid | None = None, thread: Uid | None = None
) -> State[None]:
    """Stop what is unsent, and replace what has arrived of a message where the channel can do that.

    Args:
        campaign: Name of a campaign; or:
        message: Id of a message, as `msgxc messages list` shows it.
        thread: Id of its thread, for a message that has not begun to leave.
    """
    with ending() as end:
        end.state = Completed(message=take_back(campaign, message, thread).told())
    return end.state
