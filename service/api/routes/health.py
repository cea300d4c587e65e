"""Liveness and readiness probes; they need no key."""

from typing import Any

from fastapi import APIRouter, Response

from core.errors import NotReady
from service.api.dependencies import Service, State
from service.uploads.disk_space import lack_of_space
from service.web.problems import DESCRIBED

router = APIRouter(responses=DESCRIBED, tags=["health"])


@router.get("/livez", summary="Check that the process responds")
def livez() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/readyz", responses={503: {}}, summary="Check that predictions can be served")
def readyz(response: Response, service: Service) -> dict[str, Any]:
    """Return every check by name; 503 if predictions cannot be served.

    The status is "degraded" if predictions can be served but another check fails: the database, the store, the disk
    space (too little blocks new jobs), the worker, or the target. The target fails if the model of `serving` failed its
    test and an older one serves.
    """
    checks = {
        "database": service.database_check.writes(),
        "store": _check(service.store_check.trouble()),
        "disk": _check(lack_of_space(service.settings)),
        "model": _model(service),
        "target": _target(service),
        "worker": service.database_check.workers(),
    }
    failing = [name for name, check in checks.items() if not check["ok"]]
    ready = checks["model"]["ok"]
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return {
        "status": ("degraded" if failing else "ready") if ready else "not ready",
        "failing": failing,
        "checks": checks,
    }


def _check(trouble: str | None) -> dict[str, Any]:
    return {"ok": True} if trouble is None else {"ok": False, "detail": trouble}


def _model(service: State) -> dict[str, Any]:
    try:
        loaded = service.reloader.loaded
    except NotReady as error:
        return {"ok": False, "detail": _without_paths(service, str(error))}
    return {
        "ok": True,
        "model_id": loaded.predictor.model.id,
        "version": loaded.predictor.model.version,
        "engine": loaded.predictor.engine,
        "self_test": loaded.self_test,
    }


def _target(service: State) -> dict[str, Any]:
    refused = service.reloader.refused
    if refused is None:
        return {"ok": True}
    return {"ok": False, "model_id": refused, "detail": _without_paths(service, service.reloader.failure or "")}


def _without_paths(service: State, reason: str) -> str:
    """Name files as within the data directory: whoever asks has no key."""
    for folder in {service.settings.data_dir, service.settings.data_dir.resolve()}:
        reason = reason.replace(f"{folder}/", "")
    return reason
