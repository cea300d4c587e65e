"""The HTTP server, in one process or in several."""

import gc
import os
import sys
import tempfile

import uvicorn
from fastapi import FastAPI

from core import logs
from core.artifacts.private_files import keep_private
from core.db.database import Database
from core.repositories import api_keys
from core.settings import Settings, read_or_exit
from service.app import create_app
from service.observability.metrics import SHARED
from service.uploads import spool
from service.web.connection_limits import BoundedProtocol

GARBAGE = 10_000  # objects more than were freed, before the collector looks: some fifty requests
NO_KEYS = (
    "tuneserve does not listen on {host} without API keys, since anybody there could train and delete. Give keys in "
    "TUNESERVE_API_KEYS (name:scope+scope:key), or make one while it listens on 127.0.0.1 (tuneserve keys add NAME "
    "--scope admin); or set TUNESERVE_ALLOW_WITHOUT_KEYS=true where something else keeps others away."
)
KEYS_REQUIRED = (
    "TUNESERVE_REQUIRE_KEYS is set, and there is no API key: give one in TUNESERVE_API_KEYS (name:admin:key)."
)
ANY_ORIGIN = (
    "TUNESERVE_CORS_ORIGINS=* without API keys would let every page that a browser here opens train and delete. Name "
    "the origins that may, or give keys in TUNESERVE_API_KEYS (name:scope+scope:key)."
)


def serve() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = read_or_exit()
    logs.set_up(settings.log_format)
    keep_private(settings.data_dir)
    if settings.keys_required and not _has_keys(settings):
        sys.exit(KEYS_REQUIRED if settings.require_keys else NO_KEYS.format(host=settings.host))
    if "*" in settings.cors_origins and not _has_keys(settings):
        sys.exit(ANY_ORIGIN)
    spool.empty(settings.spool_dir)
    if settings.processes == 1:
        run(settings)
    else:
        with tempfile.TemporaryDirectory(prefix="tuneserve-") as folder:
            os.environ[SHARED] = folder  # the processes count there together, and any of them can report the sums
            run(settings)


def _has_keys(settings: Settings) -> bool:
    if settings.given_keys:
        return True
    db = Database(settings.resolved_database_url)
    try:
        db.migrate()
        with db.read() as session:
            return bool(api_keys.stored(session))
    finally:
        db.close()


def run(settings: Settings) -> None:
    many = settings.processes > 1
    uvicorn.run(
        "service.server:app_of_a_process" if many else _lasting(create_app(settings)),
        factory=many,
        workers=settings.processes,
        host=settings.host,
        port=settings.port,
        http=BoundedProtocol,
        ws="none",
        log_config=None,  # ours, above
        access_log=False,  # service.middleware.request_id logs each request, with its id
        timeout_graceful_shutdown=5,
    )


def app_of_a_process() -> FastAPI:
    """Build the application in one of several processes.

    uvicorn starts them on one socket and replaces one that dies.
    """
    settings = Settings()
    logs.set_up(settings.log_format)
    return _lasting(create_app(settings))


def _lasting(app: FastAPI) -> FastAPI:
    """Freeze what was built, and collect garbage less often.

    The garbage collector took 6 % of the event loop's time.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE)
    return app
