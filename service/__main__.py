"""``python -m service``: the HTTP server, until SIGTERM or SIGINT."""

import logging

import uvicorn

from core.settings import Settings
from service.app import create_app


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,  # ours, above
        access_log=False,  # service.limits logs each request, with its id
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
