# Two images from one file:
#   service  answers over HTTP on a CPU; no torch
#   worker   trains; also the service on a GPU, since it has torch
# Both begin with one image of Python 3.12.14 by its digest, in both places alike; dependabot proposes newer ones.

FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea AS build
RUN pip install --no-cache-dir uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/app/.venv
WORKDIR /app
# dependencies first: they change more seldom than the code
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-dev --no-install-project --extra serve --extra postgres

FROM build AS build-worker
RUN uv sync --frozen --no-dev --no-install-project --extra serve --extra train --extra postgres
COPY core core
COPY service service
COPY worker worker
COPY tuneserve tuneserve
RUN uv sync --frozen --no-dev --no-editable --extra serve --extra train --extra postgres

FROM build AS build-service
COPY core core
COPY service service
COPY worker worker
COPY tuneserve tuneserve
RUN uv sync --frozen --no-dev --no-editable --extra serve --extra postgres

FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea AS base
RUN useradd --uid 10001 --create-home tuneserve && install -d -m 700 -o tuneserve /data
# it listens beyond the container's loopback, so without API keys it does not start; docker-compose.yml says how it may
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 TUNESERVE_DATA_DIR=/data TUNESERVE_HOST=0.0.0.0
USER tuneserve
WORKDIR /home/tuneserve
VOLUME /data
STOPSIGNAL SIGTERM

FROM base AS service
COPY --from=build-service /app/.venv /app/.venv
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["python", "-m", "service"]

FROM base AS worker
COPY --from=build-worker /app/.venv /app/.venv
HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 CMD ["python", "-m", "worker.health"]
CMD ["python", "-m", "worker"]
