"""Our pages inside Airflow: board, night, quarantine desk, downloads of a period, and why a line is what it is.

Every route depends on a signed-in user of Airflow and asks the role table for the centre; what is not asked for is refused. A route
that a user may not use answers 403, whatever the address says. Personal data is masked unless the role allows it.
"""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import jinja2
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from subsidy.errors import SubsidyError
from subsidy.night import api, board, clock, desk, lookup
from subsidy.policy import centre_names, is_centre_name
from subsidy.portal.dag_ids import dag_id
from subsidy.portal.links import PREFIX, board_address, night_address, period_address, quarantine_address
from subsidy.portal.roles import Person, load_roles
from subsidy.reports.watermark import watermark
from subsidy.settings import Settings, load_settings

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
SHA256 = re.compile(r"[0-9a-f]{64}")

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
)
_templates.filters["yuan"] = board.yuan
_templates.globals.update(
    board_address=board_address, night_address=night_address, period_address=period_address, quarantine_address=quarantine_address,
    prefix=PREFIX, dag_id=dag_id,
)  # fmt: skip

app = FastAPI(title="贴息", docs_url=None, redoc_url=None, openapi_url=None)


def reader(user: GetUserDep) -> Person:
    """The signed-in person with their rights. 403 for somebody who is not in the role table."""
    person = load_roles(load_settings().rules).people.get(user.get_name())
    if person is None:
        raise HTTPException(403, "没有权限")
    return person


Reader = Annotated[Person, Depends(reader)]


def _centre(person: Person, centre: str, right: str = "view") -> Settings:
    """The settings, once the person may do `right` on an existing centre. 403 otherwise, also for names that are no centre."""
    settings = load_settings()
    if not is_centre_name(centre) or centre not in centre_names(settings.rules) or not person.may(centre, right):
        raise HTTPException(403, "没有权限")
    return settings


def _month(text: str) -> str:
    if not MONTH.fullmatch(text):
        raise HTTPException(404, "没有这个月份")
    return text


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise HTTPException(404, "没有这个日期") from None


def _page(name: str, person: Person, **values: Any) -> HTMLResponse:
    return HTMLResponse(
        _templates.get_template(name).render(person=person, **values),
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'",
        },
    )


@app.get("/board")
def show_board(person: Reader, month: str = "") -> HTMLResponse:
    """Centre × month, for the centres the reader may see."""
    settings = load_settings()
    known = board.months(settings)
    chosen = _month(month) if month else (known[0] if known else f"{date(2026, 9, 1):%Y-%m}")
    seen = [c for c in centre_names(settings.rules) if person.may(c, "view")]
    return _page("board.html", person, rows=board.board(settings, seen, chosen), stages=board.STAGES, months=known, month=chosen)


@app.get("/centres/{centre}/nights/{business_date}")
def show_night(centre: str, business_date: str, person: Reader) -> HTMLResponse:
    """Files, steps and findings of one night."""
    settings = _centre(person, centre)
    found = board.night(settings, centre, _day(business_date))
    if found is None:
        raise HTTPException(404, "这一天没有运行过")
    labels = {name: label for name, label, _ in api.STEPS}
    return _page("night.html", person, centre=centre, business_date=business_date, labels=labels, **found)


@app.get("/centres/{centre}/quarantine")
def show_quarantine(centre: str, person: Reader, night: str = "") -> HTMLResponse:
    """Rows in quarantine, with the form that asks for release."""
    settings = _centre(person, centre)
    rows = desk.listed(settings, centre)[: board.LISTED]
    return _page("quarantine.html", person, centre=centre, rows=rows, night=night, may_release=person.may(centre, "release"))


@app.post("/centres/{centre}/quarantine/{number}/release")
def release(centre: str, number: int, person: Reader, request: Request, reason: Annotated[str, Form(max_length=500)]) -> RedirectResponse:
    """Ask for the release of a row; the next night reads it again."""
    settings = _centre(person, centre, "release")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "没有权限")
    try:
        desk.ask(settings, centre, number, person.login, reason)
    except SubsidyError as error:
        raise HTTPException(409, str(error)) from None
    return RedirectResponse(quarantine_address(centre, ""), 303)


@app.get("/centres/{centre}/periods/{month}")
def show_period(centre: str, month: str, person: Reader) -> HTMLResponse:
    """Totals, the last twelve months and the files of one period."""
    settings = _centre(person, centre)
    return _page("period.html", person, centre=centre, month=_month(month), **board.period(settings, centre, month))


@app.get("/centres/{centre}/files/{sha256}")
def download(centre: str, sha256: str, person: Reader) -> Response:
    """A published file by its content, recorded first; workbooks carry who took them and when."""
    settings = _centre(person, centre)
    found = board.downloadable(settings, centre, sha256) if SHA256.fullmatch(sha256) else None
    if found is None or (found["kind"] != "workbook" and not person.may(centre, "personal")):
        raise HTTPException(403, "没有权限")
    api.record_act(settings, centre, person.login, "download", f"file:{sha256}", found["path"])
    return _attached(found["path"], _content(settings, found, person))


@app.get("/months/{month}/archive")
def archive(month: str, person: Reader) -> Response:
    """The newest workbook of every centre the reader may see, as one archive."""
    settings = load_settings()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for centre in centre_names(settings.rules):
            if not person.may(centre, "view"):
                continue
            books = [f for f in board.period(settings, centre, _month(month))["files"] if f["kind"] == "workbook"]
            if books:
                api.record_act(settings, centre, person.login, "download", f"file:{books[-1]['sha256']}", books[-1]["path"])
                packed.writestr(Path(books[-1]["path"]).name, _content(settings, books[-1], person))
    return _attached(f"subsidy-{month}.zip", buffer.getvalue())


@app.get("/centres/{centre}/why/{contract_no}/{month}")
def why(centre: str, contract_no: str, month: str, person: Reader) -> HTMLResponse:
    """The derivation of every line of a contract in a period."""
    from subsidy.cli.explain import derive

    settings = _centre(person, centre)
    try:
        facts, policy, files = lookup.load_for_contract(settings, centre, contract_no)
    except SubsidyError as error:
        raise HTTPException(404, str(error)) from None
    texts = [explanation.text() for explanation, _ in derive(facts, policy, _month(month))]
    return _page("why.html", person, centre=centre, contract_no=contract_no, month=month, texts=texts, files=files)


def _content(settings: Settings, found: dict[str, Any], person: Person) -> bytes:
    path = settings.home / found["path"]
    if found["kind"] != "workbook":
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        marked = Path(folder) / "marked.xlsx"
        watermark(path, marked, person.login, clock.stamp())
        return marked.read_bytes()


def _attached(path: str, data: bytes) -> Response:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", Path(path).name)
    return Response(
        data, media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )  # fmt: skip
