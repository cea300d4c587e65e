"""Serve the web page: plain files from service/ui.

What they show comes from the other routes.
"""

from pathlib import Path

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

from service.web.security_headers import policy_with_inline

FOLDER = Path(__file__).parents[2] / "ui"
REVALIDATE = {"Cache-Control": "no-cache"}  # by ETag, so that no old script meets a new service
DOCS_FILES = "static-offline-docs"  # where fastapi_offline has them
router = APIRouter(include_in_schema=False)


@router.get("/")
def page() -> FileResponse:
    return FileResponse(FOLDER / "index.html", headers=REVALIDATE)


@router.get("/docs")
def docs() -> HTMLResponse:
    """Answer with Swagger's page, in which every address is relative.

    Behind a proxy the service lies below a path that it may not know.
    """
    shown = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="tuneserve: the API",
        swagger_js_url=f"{DOCS_FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{DOCS_FILES}/swagger-ui.css",
        swagger_favicon_url="page/icon.svg",
    )
    shown.headers["Content-Security-Policy"] = policy_with_inline(bytes(shown.body).decode())
    return shown


class PageFiles(StaticFiles):
    """The page's files, mounted by `app.mount`.

    An APIRouter does not carry mounts.
    """

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        response.headers.update(REVALIDATE)
        return response
