"""Jobs as people name them: @last, an id, or the start of one."""

from tuneserve.client import Client, Job, ServiceError

LAST = "@last"
SEARCHED = 1000  # newest jobs in which the start of an id is looked for
NO_SUCH_ID = (404, 422)


def find_job(client: Client, reference: str) -> Job:
    """Return a job by its id, by the start of its id, or as @last."""
    if reference == LAST:
        return _last(client)
    try:
        return client.job(reference)
    except ServiceError as error:
        if error.status not in NO_SUCH_ID:
            raise
        starts = (reference, f"job_{reference}")
        found = [job for job in client.jobs(SEARCHED) if reference and job.id.startswith(starts)]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(job.id for job in found[:5])
            raise ServiceError(
                f"{reference} may be any of {len(found)} jobs: {several}. Give more of the id."
            ) from error
        raise


def _last(client: Client) -> Job:
    for job in client.jobs(1):
        return job
    raise ServiceError("There is no job yet: tuneserve train starts one")
