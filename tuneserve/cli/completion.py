"""Complete ids and names from the service, as the shell asks for them."""

from collections.abc import Callable, Iterable

from tuneserve.cli.references import LAST
from tuneserve.client import Client, ServiceError

TIMEOUT_S = 2.0  # a person waits for it
SHOWN = 50


def _from_service(find: Callable[[Client], Iterable[str]]) -> Callable[[str], list[str]]:
    """Make a completion; it offers nothing while the service does not answer."""

    def complete(incomplete: str) -> list[str]:
        try:
            with Client(timeout=TIMEOUT_S) as client:
                return [name for name in find(client) if name.startswith(incomplete)]
        except (ServiceError, OSError):
            return []

    return complete


def _models(client: Client) -> list[str]:
    found = client.models(limit=SHOWN)
    return sorted({model.name for model in found}) + [f"{model.name}/{model.version}" for model in found]


job_ids = _from_service(lambda client: [LAST, *(job.id for job in client.jobs(SHOWN))])
model_references = _from_service(_models)
dataset_names = _from_service(lambda client: [one["name"] for one in client.datasets()])
uploaded_names = _from_service(lambda client: [one["name"] for one in client.datasets() if one["kind"] == "uploaded"])
