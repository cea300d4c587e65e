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
    space (too little blocks new jobs), the worker, or the target. The target fails if the model of an alias `serving`
    failed its test and an older one serves.
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
        "name": loaded.predictor.model.name,
        "model_id": loaded.predictor.model.id,
        "version": loaded.predictor.model.version,
        "engine": loaded.predictor.engine,
        "self_test": loaded.self_test,
    }


def _target(service: State) -> dict[str, Any]:
    refused = [
        {"name": name, "model_id": served.refused, "detail": _without_paths(service, served.failure or "")}
        for name, served in service.reloader.refusals.items()
    ]
    return {"ok": False, "refused": refused} if refused else {"ok": True}


def _without_paths(service: State, reason: str) -> str:
    """Name files as within the data directory: the client needs no key."""
    for folder in {service.settings.data_dir, service.settings.data_dir.resolve()}:
        reason = reason.replace(f"{folder}/", "")
    return reason
