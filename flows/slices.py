"""A part of a large campaign: some of its shards, sent by a run of its own on any worker."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.sending import send_part
from msgxc.campaign import LastShard, PartOfCampaign, Shard, Share, Slug, filled_in
from tasks.board import open_board
from tasks.campaign import part
from tasks.due import called
from tasks.own_run import ending

NAME = called("{campaign}.{first}-{last}")
STOPPED_PART = "Stopped with its system: the campaign's own run sends what is left."


@flow(name="slices", flow_run_name=NAME, persist_result=False, validate_parameters=False)
def slices(campaign: Slug, first: Shard, last: LastShard, share: Share = 1.0) -> State[None]:
    """Send some shards of a campaign that is under way.

    Args:
        campaign: Name of the campaign.
        first: The first shard.
        last: The shard after the last one.
        share: This run's part of the campaign's throttle, when more than 64 processes send it at once.
    """
    given = {"campaign": campaign, "first": first, "last": last, "share": share}
    with ending(stopped=Completed(message=STOPPED_PART)) as end:
        asked = filled_in(PartOfCampaign, given)
        planned = part(asked.campaign, asked.first, asked.last, asked.share)
        board = open_board(f"{asked.campaign}.{asked.first}-{asked.last}", planned.estimate, planned.done)
        counts = send_part(planned, board)
        end.state = Completed(message=f"{counts.recipients:,} people; the campaign's own run has the report")
    return end.state
