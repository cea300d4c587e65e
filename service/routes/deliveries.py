"""What a job's webhook was told, and what is still to be delivered."""

from fastapi import APIRouter, Depends

from core import jobs, webhooks
from core.scopes import Scope
from service.access import Needs
from service.problems import DESCRIBED
from service.routes.parameters import After, JobId, Limit
from service.state import Service
from service.views import DeliveryPage, delivery_view

router = APIRouter(responses=DESCRIBED, prefix="/jobs", tags=["jobs"], dependencies=[Depends(Needs(Scope.TRAIN))])


@router.get("/{job_id}/deliveries", summary="What the job's webhook was told, newest first")
def list_deliveries(
    job_id: JobId,
    service: Service,
    after: After = None,
    limit: Limit = 20,
) -> DeliveryPage:
    """A delivery that is refused is tried again after 5 s, 30 s, 2 min, 10 min, 1 h and 6 h, then given up."""
    with service.db.read() as session:
        jobs.get(session, job_id)
        found = webhooks.of_job(session, job_id, after, limit + 1)
    page, more = found[:limit], len(found) > limit
    return DeliveryPage(data=[delivery_view(row) for row in page], has_more=more, next=page[-1].id if more else None)
