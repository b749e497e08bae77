"""Our pages inside Airflow: board, night, quarantine desk, downloads of a period, and why a line is what it is.

Every route depends on a signed-in user of Airflow and asks the role table for the centre; what is not asked for is refused. A route
that a user may not use answers 403, whatever the address says. Personal data is masked unless the role allows it. What is downloaded is
recorded in the audit first; when that fails, nothing is served.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import jinja2
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, FastAPI, Form, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.background import BackgroundTask

from subsidy.calendar import read_period
from subsidy.errors import SubsidyError
from subsidy.money import format_yuan
from subsidy.night import api, board, clock, desk, lookup, previewing, recovering, reporting
from subsidy.policy import centre_names, is_centre_name
from subsidy.portal.dag_ids import CLEARING_DAG, dag_id, read_dag_id
from subsidy.portal.links import PREFIX, board_address, night_address, period_address, quarantine_address, write_off_address
from subsidy.portal.roles import CLEARING, Person, load_roles
from subsidy.reports.watermark import watermark
from subsidy.settings import Settings, load_settings

SHA256 = re.compile(r"[0-9a-f]{64}")
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
}
#: Columns of the clearing page.
POSITION = (
    ("computed_fen", "应清算"), ("sent_fen", "发送"), ("confirmed_fen", "已付"), ("failed_fen", "失败"), ("open_fen", "未决"),
    ("returned_fen", "退汇"), ("netted_fen", "抵扣追回"), ("collected_fen", "收回"), ("net_fen", "划款净额"),
)  # fmt: skip
REFUSED = "没有权限"

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
)
_templates.filters["yuan"] = board.yuan
_templates.globals.update(
    board_address=board_address, night_address=night_address, period_address=period_address, quarantine_address=quarantine_address,
    write_off_address=write_off_address,
    prefix=PREFIX, dag_id=dag_id, clearing_dag=CLEARING_DAG, clearing=CLEARING, masked_kinds=board.MASKED, personal_kinds=board.PERSONAL,
)  # fmt: skip

app = FastAPI(title="贴息", docs_url=None, redoc_url=None, openapi_url=None)


def reader(user: GetUserDep) -> Person:
    """The signed-in person with their rights. 403 for somebody who is not in the role table."""
    person = load_roles(load_settings().rules).people.get(user.get_name())
    if person is None:
        raise HTTPException(403, REFUSED)
    return person


Reader = Annotated[Person, Depends(reader)]


@app.exception_handler(HTTPException)
def refused(_: Request, error: HTTPException) -> HTMLResponse:
    """An error as a page for people: what happened, what is safe, what to do now. Names nothing of what was asked for."""
    todo = {
        401: "请先登录，再打开本页。",
        403: "回到看板；需要更多权限时，请管理员修改角色表。",
        404: "核对地址，或从看板重新进入。",
    }.get(error.status_code, "按提示改正后再试。")
    what = "没有登录" if error.status_code == 401 else str(error.detail)
    page = _templates.get_template("error.html").render(status=error.status_code, what=what, todo=todo)
    return HTMLResponse(page, error.status_code, headers=HEADERS)


@app.exception_handler(RequestValidationError)
def malformed(request: Request, _: RequestValidationError) -> HTMLResponse:
    """An address or a form that no page of ours sends."""
    return refused(request, HTTPException(404, "没有这个页面"))


@app.exception_handler(SubsidyError)
def failed(_: Request, error: SubsidyError) -> HTMLResponse:
    """A failure of ours, by its own message."""
    message = error.message
    page = _templates.get_template("error.html").render(status=message.code, what=message.what, safe=message.safe, todo=message.todo)
    return HTMLResponse(page, 409, headers=HEADERS)


def _centre(person: Person, centre: str, right: str = "view") -> Settings:
    """The settings, once the person may do `right` on an existing centre. 403 otherwise, also for names that are no centre."""
    settings = load_settings()
    if not is_centre_name(centre) or centre not in centre_names(settings.rules) or not person.may(centre, right):
        raise HTTPException(403, REFUSED)
    return settings


def _clearing(person: Person) -> Settings:
    """The settings, once the person may see the clearing over all centres."""
    if not person.may(CLEARING, "view"):
        raise HTTPException(403, REFUSED)
    return load_settings()


def _from_our_page(request: Request) -> None:
    """403 for a form that another site made a browser send."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, REFUSED)


def _month(text: str) -> str:
    try:
        return read_period(text)
    except ValueError:
        raise HTTPException(404, "没有这个月份") from None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise HTTPException(404, "没有这个日期") from None


def _page(template: str, person: Person, **values: Any) -> HTMLResponse:
    return HTMLResponse(_templates.get_template(template).render(person=person, **values), headers=HEADERS)


@app.get("/frame.js")
def frame_script(person: Reader) -> Response:
    """Lets links out of the frame that Airflow shows our pages in."""
    text = (Path(__file__).parent / "templates" / "frame.js").read_text(encoding="utf-8")
    return Response(text, media_type="text/javascript", headers=HEADERS)


@app.get("/board")
def show_board(person: Reader, month: str = "") -> HTMLResponse:
    """Centre × month, for the centres the reader may see."""
    settings = load_settings()
    seen = [c for c in centre_names(settings.rules) if person.may(c, "view")]
    known = board.months(settings, seen)
    chosen = _month(month) if month else (known[0] if known else clock.stamp()[:7])
    rows = board.board(settings, seen, chosen)
    return _page("board.html", person, rows=rows, stages=board.STAGES, months=known, month=chosen, overall=person.may(CLEARING, "view"))


@app.get("/dags/{dag}")
def show_for_dag(dag: str, person: Reader) -> RedirectResponse:
    """From a DAG's page in Airflow to what belongs to its centre: the newest night, or the newest period."""
    known = read_dag_id(dag)
    if known is None:
        raise HTTPException(403, REFUSED)
    centre, kind = known
    if centre == CLEARING:
        month = board.last_cleared(_clearing(person))
        return RedirectResponse(f"{PREFIX}/clearing/{month}" if month else board_address(), 303)
    settings = _centre(person, centre)
    night, period = board.newest(settings, centre)
    if kind in ("publish", "results") and period:
        return RedirectResponse(period_address(centre, period), 303)
    return RedirectResponse(night_address(centre, night) if night else board_address(), 303)


@app.get("/centres/{centre}/nights/{business_date}")
def show_night(centre: str, business_date: str, person: Reader) -> HTMLResponse:
    """Files, steps and findings of one night."""
    settings = _centre(person, centre)
    found = board.night(settings, centre, _day(business_date))
    if found is None:
        raise HTTPException(404, "这一天没有运行过")
    steps = [("open", "打开业务日"), *((name, label) for name, label, _ in api.STEPS)]
    said = {name: previewing.said(name, found["steps"].get("close" if name == "close_night" else name)) for name, _ in steps}
    name = board.name_of(settings, centre)[0]
    return _page("night.html", person, centre=centre, name=name, business_date=business_date, labels=steps, said=said, **found)


@app.get("/centres/{centre}/quarantine")
def show_quarantine(centre: str, person: Reader, night: str = "") -> HTMLResponse:
    """Rows in quarantine, with the form that asks for release."""
    settings = _centre(person, centre)
    rows = desk.listed(settings, centre, limit=board.LISTED + 1)
    more = sum(row["line_no"] > 0 for row in rows) > board.LISTED
    values = {"name": board.name_of(settings, centre)[0], "night": night if night and _day(night) else "", "more": more}
    return _page("quarantine.html", person, centre=centre, rows=rows, may_release=person.may(centre, "release"), **values)


@app.post("/centres/{centre}/quarantine/{number}/release")
def release(centre: str, number: int, person: Reader, request: Request, reason: Annotated[str, Form(max_length=500)]) -> RedirectResponse:
    """Ask for the release of a row; the next night reads it again."""
    settings = _centre(person, centre, "release")
    _from_our_page(request)
    desk.ask(settings, centre, number, person.login, reason)
    return RedirectResponse(quarantine_address(centre, ""), 303)


@app.get("/centres/{centre}/receivables")
def show_receivables(centre: str, person: Reader, said: str = "") -> HTMLResponse:
    """What is to be recovered with its age, the requests to write off that wait, and the forms to ask and to answer."""
    settings = _centre(person, centre)
    found = recovering.shown(settings, centre)
    may = {right: person.may(centre, right) for right in ("run", "approve")}
    name = board.name_of(settings, centre)[0]
    return _page("receivables.html", person, centre=centre, name=name, may=may, said=recovering.SAID.get(said, ""), **found)


@app.post("/centres/{centre}/receivables/write-off")
def ask_write_off(
    centre: str,
    person: Reader,
    request: Request,
    agreement_no: Annotated[str, Form(max_length=64)],
    amount: Annotated[str, Form(max_length=24)],
    reason: Annotated[str, Form(max_length=500)],
) -> RedirectResponse:
    """Ask that a receivable be written off; somebody else answers."""
    settings = _centre(person, centre, "run")
    _from_our_page(request)
    recovering.ask(settings, centre, agreement_no.strip(), amount.strip(), person.login, reason)
    return RedirectResponse(f"{write_off_address(centre)}?said=asked", 303)


@app.post("/centres/{centre}/receivables/write-off/{number}/answer")
def answer_write_off(
    centre: str,
    number: int,
    person: Reader,
    request: Request,
    answer: Annotated[Literal["approve", "reject"], Form()],
    content_hash: Annotated[str, Form(max_length=64)],
) -> RedirectResponse:
    """Answer a request to write off; an approval is booked at once."""
    settings = _centre(person, centre, "approve")
    _from_our_page(request)
    state = recovering.answer(settings, centre, number, person.login, answer, content_hash)
    return RedirectResponse(f"{write_off_address(centre)}?said={state}", 303)


@app.get("/centres/{centre}/periods/{month}")
def show_period(centre: str, month: str, person: Reader) -> HTMLResponse:
    """Totals, the last twelve months, previews of the workbook's sheets, and the files of one period."""
    settings = _centre(person, centre)
    found = board.period(settings, centre, _month(month))
    books = [f for f in found["files"] if f["kind"] == "workbook" and "-D" not in f["path"].rsplit("/", 1)[-1]]
    sheets = previewing.sheets(settings.home / books[-1]["path"]) if books else []
    values = {"name": board.name_of(settings, centre)[0], "may": {"personal": person.may(centre, "personal")}}
    return _page("period.html", person, centre=centre, month=month, sheets=sheets, **values, **found)


@app.get("/centres/{centre}/periods/{month}/full")
def download_full(centre: str, month: str, person: Reader) -> Response:
    """The workbook as the ledger stands now, with names and accounts in full, for those whose role allows it. Nothing is stored."""
    settings = _centre(person, centre, "personal")
    stem = f"{centre}-{_month(month)}-full"
    reporting.of_period(settings, centre, month)
    api.record_act(settings, centre, person.login, "download", f"report:{month}:full", "完整个人信息")
    folder = tempfile.TemporaryDirectory(prefix="subsidy-")
    try:
        reporting.write_unmasked(settings, centre, month, Path(folder.name) / "plain.xlsx")
        watermark(Path(folder.name) / "plain.xlsx", Path(folder.name) / "marked.xlsx", person.login, clock.stamp())
    except BaseException:
        folder.cleanup()
        raise
    return _attached(Path(folder.name) / "marked.xlsx", f"{stem}.xlsx", folder)


@app.get("/centres/{centre}/periods/{month}/vouchers")
def download_vouchers(centre: str, month: str, person: Reader) -> Response:
    """The vouchers of a calendar month as the ledger stands now."""
    settings = _centre(person, centre)
    data = board.vouchers(settings, centre, _month(month))
    api.record_act(settings, centre, person.login, "download", f"vouchers:{month}", f"{len(data)} 字节")
    return Response(data, media_type="application/octet-stream", headers=HEADERS | _disposition(f"{centre}-{month}-vouchers.txt"))


@app.get("/centres/{centre}/files/{sha256}")
def download(centre: str, sha256: str, person: Reader) -> Response:
    """A published file by its content, recorded first; workbooks carry who took them and when. `centre` may be ``clearing``."""
    settings = _clearing(person) if centre == CLEARING else _centre(person, centre)
    found = board.downloadable(settings, centre, sha256) if SHA256.fullmatch(sha256) else None
    if found is None or (found["kind"] not in board.MASKED and not person.may(centre, "personal")):
        raise HTTPException(403, REFUSED)
    name = Path(found["path"]).name
    api.record_act(settings, centre, person.login, "download", f"file:{sha256}", name)
    if found["kind"] != "workbook":
        return _attached(settings.home / found["path"], name)
    folder = tempfile.TemporaryDirectory(prefix="subsidy-")
    try:
        watermark(settings.home / found["path"], Path(folder.name) / "marked.xlsx", person.login, clock.stamp())
    except BaseException:
        folder.cleanup()
        raise
    return _attached(Path(folder.name) / "marked.xlsx", name, folder)


@app.get("/months/{month}/archive")
def archive(month: str, person: Reader) -> Response:
    """The newest workbook of every centre the reader may see, each with its part files, as one archive."""
    settings = load_settings()
    wanted = []
    for centre in centre_names(settings.rules):
        if person.may(centre, "view"):
            wanted += [(centre, found) for found in board.newest_books(settings, centre, _month(month))]
    if not wanted:
        raise HTTPException(404, "本月还没有工作簿")
    for centre, found in wanted:
        api.record_act(settings, centre, person.login, "download", f"file:{found['sha256']}", Path(found["path"]).name)
    folder = tempfile.TemporaryDirectory(prefix="subsidy-")
    try:
        packed, marked = Path(folder.name) / "packed.zip", Path(folder.name) / "marked.xlsx"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as target:
            for _, found in wanted:
                watermark(settings.home / found["path"], marked, person.login, clock.stamp())
                target.write(marked, Path(found["path"]).name)
    except BaseException:
        folder.cleanup()
        raise
    return _attached(packed, f"subsidy-{month}.zip", folder)


@app.get("/clearing/{month}")
def show_clearing(month: str, person: Reader) -> HTMLResponse:
    """The clearing over all centres: per centre and bank, versions, and its files."""
    settings = _clearing(person)
    found = board.clearing(settings, _month(month))
    names = {centre: board.name_of(settings, centre)[0] for centre in centre_names(settings.rules)}
    return _page("clearing.html", person, month=month, names=names, columns=POSITION, **found)


@app.get("/centres/{centre}/why/{contract_no}/{month}")
def why(centre: str, contract_no: str, month: str, person: Reader) -> HTMLResponse:
    """The derivation of every line of a contract that a period's figures are made of."""
    from subsidy.cli.explain import told

    settings = _centre(person, centre)
    _month(month)
    try:
        facts, policy, files = lookup.load_for_contract(settings, centre, contract_no)
    except SubsidyError as error:
        raise HTTPException(404, error.message.what) from None
    lines = [
        {
            "title": f"{e.agreement_no} 第 {e.serial_no} 号",
            "payable": format_yuan(e.line["payable_fen"]),
            "earlier": "" if line.earlier is None else line.earlier.text(),
            "text": e.text(files),
            "posted": [posting.text(files) for posting in line.postings],
        }
        for line in told(settings, facts, policy, month)
        for e in (line.explanation,)
    ]
    return _page("why.html", person, centre=centre, name=policy.short_name, contract_no=contract_no, month=month, lines=lines)


@app.get("/centres/{centre}/why")
def ask_why(centre: str, person: Reader, contract_no: str = "", month: str = "") -> RedirectResponse:
    """From the form of the period page to the derivation."""
    _centre(person, centre)
    if not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", contract_no.strip()):
        raise HTTPException(404, "没有这个合同编号")
    return RedirectResponse(f"{PREFIX}/centres/{centre}/why/{contract_no.strip()}/{_month(month)}", 303)


def _disposition(name: str) -> dict[str, str]:
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return {"Content-Disposition": f'attachment; filename="{safe}"'}


def _attached(path: Path, name: str, folder: tempfile.TemporaryDirectory[str] | None = None) -> FileResponse:
    """The file as an attachment, streamed; `folder` is removed when it was sent."""
    kind = XLSX if name.endswith(".xlsx") else "application/octet-stream"
    done = None if folder is None else BackgroundTask(folder.cleanup)
    return FileResponse(path, media_type=kind, headers=HEADERS | _disposition(name), background=done)
