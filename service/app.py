"""The composition root: create_app builds the service from its parts."""

from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from core import tracing
from core.settings import Settings
from service.api.routes import (
    aliases,
    catalog,
    dataset_images,
    datasets,
    embed,
    health,
    models,
    open_inference,
    predict,
    ui,
)
from service.api.routes import api_keys as keys_routes
from service.api.routes import batch_predictions as predictions
from service.api.routes import metrics as metrics_routes
from service.api.routes import uploads as uploads_routes
from service.api.routes.jobs import jobs, records, webhook_deliveries
from service.api.routes.ui import PageFiles
from service.lifespan import lifespan
from service.middleware.body_limit import BodyLimit
from service.middleware.conditional_requests import ConditionalRequests
from service.middleware.content_encoding import ContentEncoding
from service.middleware.head_requests import HeadRequests
from service.middleware.load_shedding import LoadShedding
from service.middleware.proxy_prefix import ProxyPrefix
from service.middleware.request_id import RequestId
from service.observability.metrics import Metrics, Observe
from service.security.allowed_hosts import AllowedHosts
from service.security.api_keys import ApiKeys
from service.security.authentication import Authentication
from service.security.rate_limit import RateLimit
from service.security.same_origin import SameOrigin
from service.web import problems
from service.web.security_headers import SecurityHeaders

if TYPE_CHECKING:
    from service.observability.tracing import Tracing

SMALL_BODY = 128 * 2**10  # bytes: more than any recipe takes
DESCRIPTION = "Train image classifiers and serve them. Every example below works when pasted."
EXPOSED_HEADERS = ("Location", "Retry-After", "X-Request-Id", "Idempotent-Replayed")  # to pages of other origins
ROUTERS = (
    predict.router,  # first: the routes are tried in this order
    embed.router,
    jobs.router,
    records.router,
    webhook_deliveries.router,
    aliases.router,
    models.router,
    predictions.router,
    open_inference.router,
    catalog.router,
    datasets.router,
    dataset_images.router,
    uploads_routes.router,
    keys_routes.router,
    health.router,
    metrics_routes.router,
    ui.router,
    open_inference.probes,
)


def create_app(settings: Settings) -> FastAPI:
    """Build the service as an ASGI application.

    It opens nothing before it starts.
    """
    metrics, access = Metrics(), ApiKeys(settings)
    traces = _traces() if tracing.is_on() else None
    app = FastAPIOffline(
        docs_url=None,  # service.api.routes.ui has a page with relative addresses, and hashes of its scripts
        redoc_url=None,
        title="tuneserve",
        version=version("tuneserve"),
        description=DESCRIPTION,
        redirect_slashes=False,  # a redirect would name the request's host, and lose a proxy's prefix
        lifespan=lifespan(settings, metrics, access, traces),
        telemetry={"tracing": False, "metrics": False, "logs": False},  # service.observability has its own
    )
    problems.install(app)
    for layer in reversed(_middleware(app, settings, metrics, access, traces)):  # the last one added is the outermost
        app.add_middleware(layer.cls, *layer.args, **layer.kwargs)
    for router in ROUTERS:
        app.router.routes.extend(router.routes)  # include_router would build them anew: 0.2 s for each app
    app.mount("/page", PageFiles())
    return app


def _middleware(
    app: FastAPI, settings: Settings, metrics: Metrics, access: ApiKeys, traces: "Tracing | None"
) -> list[Middleware]:
    """List a request's middlewares, the outermost first.

    The order is the security model.

    ProxyPrefix: the path as the routes know it, without the prefix that a proxy serves it under.
    LoadShedding: 429 for a prediction while the queue is full. It reads neither key nor body: a flood costs little.
    Tracing, where it is on: a span for each request that is not refused.
    Observe: count and time every request, those that Authentication refuses too.
    RequestId: an id and a line in the log for every answer below, 401 and 413 included.
    SecurityHeaders: what a browser may do with any answer below, an error or not.
    CORSMiddleware, where CORS_ORIGINS names a page: a preflight comes without a key, and a page may read a 401.
    Authentication: API key, Host, Origin and rate limit. Nothing below runs for a stranger or for a page of another
        origin, and no byte of the body is read.
    ContentEncoding: a body as it was before gzip, a piece at a time, wherever below it is read.
    BodyLimit: a bound on the body, of a compressed one on what it holds, and on all bodies that are held.
    HeadRequests: the answer to GET without its body. What stands above counts, logs and refuses a HEAD.
    ConditionalRequests: 304 for what the client has already, of GET and so of HEAD.
    """
    rate_limit = RateLimit(settings.rate_limit_per_s) if settings.rate_limit_per_s else None
    return [
        Middleware(ProxyPrefix, prefix=settings.root_path),
        Middleware(
            LoadShedding,
            is_full=lambda: app.state.service.pipeline.batcher.is_full,
            on_refused=lambda: metrics.requests.labels("/predict", "POST", 429).inc(),
        ),
        *([Middleware(traces.middleware)] if traces else []),
        Middleware(Observe, metrics=metrics),
        Middleware(RequestId),
        Middleware(SecurityHeaders),
        *([_cors(settings.cors_origins)] if settings.cors_origins else []),
        Middleware(
            Authentication,
            access=access,
            hosts=AllowedHosts(settings),
            origin=SameOrigin(settings),
            rate_limit=rate_limit,
        ),
        Middleware(ContentEncoding),
        Middleware(
            BodyLimit,
            max_bytes=settings.max_body_bytes,
            elsewhere=_body_limits(settings),
            in_flight_bytes=settings.in_flight_bytes,
        ),
        Middleware(HeadRequests),
        Middleware(ConditionalRequests),
    ]


def _cors(origins: tuple[str, ...]) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )


def _body_limits(settings: Settings) -> dict[str, int]:
    """Map the paths with their own body limit to it, in bytes."""
    return {
        **dict.fromkeys(("/jobs", "/keys", "/models"), min(SMALL_BODY, settings.max_body_bytes)),
        "/batches": settings.max_batch_bytes,
        "/datasets": settings.max_dataset_bytes,
        "/uploads": settings.max_dataset_bytes,
    }


def _traces() -> "Tracing":
    from service.observability.tracing import Tracing

    return Tracing(tracing.provider("service"))
