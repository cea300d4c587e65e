"""service.web.form: a file in a form counts however it is named."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.datastructures import UploadFile

from service.web.form import open_form


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()

    @app.post("/form")
    async def form(request: Request) -> list[list[str]]:
        async with open_form(request, max_files=2) as read:
            files = [(name, part) for name, part in read.multi_items() if isinstance(part, UploadFile)]
            return [[name, part.filename or "", (await part.read()).hex()] for name, part in files]

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def sent(http: httpx.AsyncClient, *heads: str) -> httpx.Response:
    parts = "".join(f"--b\r\n{head}\r\n\r\n\x00\x7f\r\n" for head in heads)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return await http.post("/form", content=f"{parts}--b--\r\n".encode(), headers=headers)


async def test_a_part_is_a_file_by_its_name_its_extended_name_or_its_type(http: httpx.AsyncClient) -> None:
    form = "Content-Disposition: form-data; name=file"
    heads = {
        f"{form}; filename=a.png": "a.png",
        f'{form}; filename="a;filename*=x.png"': "a;filename*=x.png",
        f"{form}; filename*=UTF-8''b%C3%A4r%20%22x%22.png": 'bär "x".png',
        f"{form}; FileName*=utf-8'de'b.png; x=y": "b.png",
        f"{form}; filename=a.png; filename*=UTF-8''b.png": "a.png",
        f"{form}\r\nContent-Type: image/png": "",
        f"{form}\r\ncontent-type: Application/Octet-Stream": "",
    }
    for head, name in heads.items():
        assert (await sent(http, head)).json() == [["file", name, "007f"]], head
    for head in (form, f"{form}\r\nContent-Type: text/plain"):
        assert (await sent(http, head)).json() == [], head


async def test_what_is_no_form_is_refused(http: httpx.AsyncClient) -> None:
    image = "Content-Disposition: form-data; name=file\r\nContent-Type: image/png"
    assert (await sent(http, *[image] * 2)).status_code == 200
    assert (await sent(http, *[image] * 3)).status_code == 400
    assert (await sent(http, "Content-Type: image/png")).status_code == 400
    headers = {"Content-Type": "multipart/form-data"}
    assert (await http.post("/form", content=b"x", headers=headers)).status_code == 400
