"""Build and parse the ids of rows.

An id begins with the time, so that ids sort by age, and ends with 40 random bits. A model's or a checkpoint's id holds
its job's id, so that files without a row still name their job.
"""

import re
import secrets
from typing import Literal

Kind = Literal["job", "model", "batch", "worker", "delivery", "key", "upload"]
MODEL_ID = r"model_[0-9a-z_]{1,60}"


def new_id(kind: Kind, now: float) -> str:
    return f"{kind}_{int(now * 1000):011x}{secrets.token_hex(5)}"


def model_id(job_id: str, attempt: int) -> str:
    """Return the id of the model that this attempt publishes."""
    return f"model_{_without_kind(job_id)}_{attempt}"


def checkpoint_id(job_id: str, attempt: int, step: int) -> str:
    return f"ckpt_{_without_kind(job_id)}_{attempt}_{step}"


def publisher(model: str) -> tuple[str, int] | None:
    """Return job id and attempt in a model's id, or None.

    None for an id that no job gave.
    """
    found = re.fullmatch(r"model_(\w+)_(\d+)", model, re.ASCII)
    return (f"job_{found[1]}", int(found[2])) if found else None


def is_model_id(name: str) -> bool:
    """Check whether a name is a model's id rather than an alias."""
    return name.startswith("model_")


def _without_kind(job_id: str) -> str:
    return job_id.removeprefix("job_")
