"""The web page: plain files, as they lie in service/ui. What they show comes from the other routes."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

FOLDER = Path(__file__).parents[2] / "ui"
# stricter than service.web.security_headers, which lets /docs have its scripts inline
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
ASK_AGAIN = {"Cache-Control": "no-cache"}  # by ETag, so that no old script meets a new service
router = APIRouter(include_in_schema=False)


@router.get("/")
def page() -> FileResponse:
    return FileResponse(FOLDER / "index.html", headers={**ASK_AGAIN, "Content-Security-Policy": POLICY})


class PageFiles(StaticFiles):
    """What index.html consists of, for `app.mount`: an APIRouter does not carry mounts."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        response.headers.update(ASK_AGAIN)
        return response
