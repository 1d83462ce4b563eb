"""A part of a large campaign: some of its shards, sent by a run of its own on any worker."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows.sending import send_part
from msgxc.campaign import Slug
from tasks.board import open_board
from tasks.campaign import part
from tasks.own_run import ending

STOPPED_PART = "Stopped with its system: the campaign's own run sends what is left."


@flow(name="slices", flow_run_name="{campaign}.{first}-{last}", persist_result=False)
def slices(
    campaign: Slug,
    first: Annotated[int, Field(ge=0)],
    last: Annotated[int, Field(ge=1)],
    share: Annotated[float, Field(gt=0, le=1)] = 1.0,
) -> State[None]:
    """Send some shards of a campaign that is under way.

    Args:
        campaign: Name of the campaign.
        first: The first shard.
        last: The shard after the last one.
        share: This run's part of the campaign's throttle, when more than 64 processes send it at once.
    """
    with ending(stopped=Completed(message=STOPPED_PART)) as end:
        planned = part(campaign, first, last, share)
        board = open_board(f"{campaign}.{first}-{last}", planned.estimate, planned.done)
        counts = send_part(planned, board)
        end.state = Completed(message=f"{counts.recipients:,} people; the campaign's own run has the report")
    return end.state
