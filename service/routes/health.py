"""Probes that tell the truth. Both answer without a key."""

import time
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy.exc import SQLAlchemyError

from core import jobs
from core.errors import NotReady
from service.state import Service, State

router = APIRouter(tags=["health"])


@router.get("/livez", summary="The process answers")
def livez() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/readyz", responses={503: {}}, summary="Predictions can be answered")
def readyz(response: Response, service: Service) -> dict[str, Any]:
    """503 when predictions cannot be answered, and every check by name. No worker: degraded, since those still can."""
    checks = {"database": _database(service), "model": _model(service), "worker": _worker(service)}
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


def _database(service: State) -> dict[str, Any]:
    try:
        with service.db.write():
            return {"ok": True}
    except SQLAlchemyError as error:
        return {"ok": False, "detail": str(error)}


def _model(service: State) -> dict[str, Any]:
    """A model that cannot be loaded while an older one serves is told, but does not make us unready."""
    try:
        predictor = service.reloader.current
    except NotReady as error:
        return {"ok": False, "detail": str(error)}
    serving = {
        "ok": True,
        "model_id": predictor.model.id,
        "version": predictor.model.version,
        "engine": predictor.engine,
    }
    return serving | ({"detail": service.reloader.failure} if service.reloader.failure else {})


def _worker(service: State) -> dict[str, Any]:
    try:
        with service.db.read() as session:
            live = jobs.live_workers(session, time.time(), service.settings.lease_s)
    except SQLAlchemyError as error:
        return {"ok": False, "detail": str(error)}
    return {"ok": live > 0, "live": live} | ({} if live else {"detail": "No worker is alive: jobs wait."})
