"""Webhook deliveries of a job, sent and still to be sent."""

from fastapi import APIRouter, Depends

from core.repositories import jobs, webhook_deliveries
from core.scopes import Scope
from service.api.dependencies import Service
from service.api.parameters import After, JobId, Limit
from service.api.schemas.job_records import DeliveryPage, delivery_view
from service.security.api_keys import RequireScope
from service.web.problems import DESCRIBED

router = APIRouter(
    responses=DESCRIBED, prefix="/jobs", tags=["jobs"], dependencies=[Depends(RequireScope(Scope.TRAIN))]
)


@router.get("/{job_id}/deliveries", summary="List webhook deliveries of a job, newest first")
def list_deliveries(
    job_id: JobId,
    service: Service,
    after: After = None,
    limit: Limit = 20,
) -> DeliveryPage:
    """List the deliveries of a job.

    A failed delivery is retried after 5 s, 30 s, 2 min, 10 min, 1 h and 6 h, then given up.
    """
    with service.db.read() as session:
        jobs.get(session, job_id)
        found = webhook_deliveries.of_job(session, job_id, after, limit + 1)
    page, more = found[:limit], len(found) > limit
    return DeliveryPage(data=[delivery_view(row) for row in page], has_more=more, next=page[-1].id if more else None)
