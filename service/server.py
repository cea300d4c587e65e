"""The HTTP server, in one process or in several."""

import logging
import os
import tempfile

import uvicorn
from fastapi import FastAPI

from core.settings import Settings
from service.app import create_app
from service.metrics import SHARED


def serve() -> None:
    """Until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    if settings.processes == 1:
        run(settings)
    else:
        with tempfile.TemporaryDirectory(prefix="tuneserve-") as folder:
            os.environ[SHARED] = folder  # the processes count there together, and any of them can tell the sums
            run(settings)


def run(settings: Settings) -> None:
    many = settings.processes > 1
    uvicorn.run(
        "service.server:app_of_a_process" if many else create_app(settings),
        factory=many,
        workers=settings.processes,
        host=settings.host,
        port=settings.port,
        ws="none",
        log_config=None,  # ours, above
        access_log=False,  # service.limits logs each request, with its id
        timeout_graceful_shutdown=5,
    )


def app_of_a_process() -> FastAPI:
    """One of several: uvicorn starts them, on one socket, and starts another in place of one that dies."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")
    return create_app(Settings())
