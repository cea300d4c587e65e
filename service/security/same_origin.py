"""Refuse requests of other origins' pages that change something without a key.

A browser sends a form, or a POST without a body, to any address without a preflight request. If keys are required, a
page cannot add one; without keys the loopback would obey every page that is open.
"""

from urllib.parse import urlsplit

from starlette.types import Scope

from core.errors import CrossSite
from core.settings import Settings
from service.web.asgi import header

SAFE = ("GET", "HEAD", "OPTIONS")
OTHER_SITES = ("cross-site", "same-site")  # of Sec-Fetch-Site: another host, or another port or name of this one
HINT = "A page of another origin may not change anything here. TUNESERVE_CORS_ORIGINS takes the origins that may."


class SameOrigin:
    """Check the origin of requests without a key.

    ``CORS_ORIGINS=*`` names nobody here: it is for services with keys.
    """

    def __init__(self, settings: Settings) -> None:
        self._named = frozenset(origin.lower() for origin in settings.cors_origins)

    def check(self, scope: Scope) -> None:
        """Raise CrossSite for a change by another origin's page without key."""
        if scope["method"] in SAFE:
            return
        origin, site = header(scope, b"origin").lower(), header(scope, b"sec-fetch-site")
        if origin in self._named or site == "same-origin":  # the latter no page can say of itself
            return
        if site in OTHER_SITES or (origin and not _is_own(origin, scope)):
            raise CrossSite(HINT)


def _is_own(origin: str, scope: Scope) -> bool:
    """Check whether an origin is ours, without its scheme.

    TLS ends at a proxy, which may also forward the host that it was called by.
    """
    hosts = (header(scope, b"host"), header(scope, b"x-forwarded-host"))
    try:
        return urlsplit(origin).netloc in [host.lower() for host in hosts if host]
    except ValueError:
        return False
