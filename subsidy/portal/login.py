"""Signing in: one Chinese page, and tokens for programs. Five wrong passwords in five minutes close a login for five minutes."""

from __future__ import annotations

import time
from collections import deque
from html import escape
from typing import Any
from urllib.parse import quote

from airflow.api_fastapi.app import get_cookie_path
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.core_api.security import is_safe_url
from airflow.configuration import conf
from fastapi import FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel

from subsidy.portal import passwords
from subsidy.settings import load_settings

TRIES, SECONDS = 5, 300.0
#: Logins remembered at once: names can be invented without end.
LOGINS = 10_000

PAGE = """<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>登录 · 贴息系统</title><style>
body{{margin:0;min-height:100vh;display:grid;place-items:center;background:#f3f5f7;color:#1c2733;
font:16px/1.5 "Noto Sans CJK SC","Microsoft YaHei",sans-serif}}
form{{background:#fff;padding:2rem;border-radius:.5rem;width:min(20rem,80vw);box-shadow:0 1px 6px #0002}}
h1{{font-size:1.2rem;margin:0 0 1rem}}label{{display:block;margin:.75rem 0 .25rem}}
input{{width:100%;box-sizing:border-box;padding:.5rem;font:inherit;border:1px solid #8796a5;border-radius:.25rem}}
button{{margin-top:1.25rem;width:100%;padding:.6rem;font:inherit;color:#fff;background:#14508c;border:0;border-radius:.25rem}}
p{{color:#a4161a;margin:.75rem 0 0}}</style></head>
<body><form method="post" action="login?next={next}"><h1>公积金贴息系统</h1>
<label for="u">登录名</label><input id="u" name="username" autocomplete="username" required autofocus>
<label for="p">口令</label><input id="p" name="password" type="password" autocomplete="current-password" required>
<p role="alert">{error}</p><button>登录</button></form></body></html>"""


class Credentials(BaseModel):  # type: ignore[misc,unused-ignore]
    """Body of a token request."""

    username: str
    password: str


class Attempts:
    """Wrong passwords per login in the last minutes, in this process."""

    def __init__(self) -> None:
        self._wrong: dict[str, deque[float]] = {}

    def closed(self, login: str) -> bool:
        wrong = self._wrong.get(login)
        return wrong is not None and len(wrong) == TRIES and time.monotonic() - wrong[0] < SECONDS

    def failed(self, login: str) -> None:
        # Taken out and put in again: the login that failed longest ago is the first to be forgotten.
        wrong = self._wrong.pop(login, deque(maxlen=TRIES))
        wrong.append(time.monotonic())
        self._wrong[login] = wrong
        if len(self._wrong) > LOGINS:
            del self._wrong[next(iter(self._wrong))]

    def succeeded(self, login: str) -> None:
        self._wrong.pop(login, None)


def login_app(manager: Any) -> FastAPI:
    """The application mounted at ``/auth``: page, form, tokens."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    attempts = Attempts()

    def token(credentials: Credentials, seconds: int) -> str:
        login = credentials.username
        if attempts.closed(login):
            raise HTTPException(429, "口令错误次数过多，请五分钟后再试。")
        person = manager.roles().people.get(login)
        stored = passwords.load(passwords.password_file(load_settings().home)).get(login) if person else None
        if not passwords.matches(stored, credentials.password) or person is None:
            attempts.failed(login)
            raise HTTPException(401, "登录名或口令不对。")
        attempts.succeeded(login)
        return str(manager.generate_jwt(manager.deserialize_user({"sub": login}), expiration_time_in_seconds=seconds))

    @app.post("/token", status_code=201)  # type: ignore[untyped-decorator,unused-ignore]
    def create_token(body: Credentials) -> dict[str, str]:
        return {"access_token": token(body, conf.getint("api_auth", "jwt_expiration_time"))}

    @app.post("/token/cli", status_code=201)  # type: ignore[untyped-decorator,unused-ignore]
    def create_token_cli(body: Credentials) -> dict[str, str]:
        return {"access_token": token(body, conf.getint("api_auth", "jwt_cli_expiration_time"))}

    @app.get("/login", response_class=HTMLResponse)  # type: ignore[untyped-decorator,unused-ignore]
    def page(next: str = "/") -> str:
        return PAGE.format(next=escape(_quoted(next)), error="")

    @app.post("/login")  # type: ignore[untyped-decorator,unused-ignore]
    def sign_in(request: Request, next: str = "/", username: str = Form(), password: str = Form()) -> Response:
        try:
            value = token(Credentials(username=username, password=password), conf.getint("api_auth", "jwt_expiration_time"))
        except HTTPException as error:
            return HTMLResponse(PAGE.format(next=escape(_quoted(next)), error=escape(str(error.detail))), status_code=error.status_code)
        response = RedirectResponse(next if is_safe_url(next, request=request) else "/", status_code=303)
        secure = request.base_url.scheme == "https" or bool(conf.get("api", "ssl_cert", fallback=""))
        response.set_cookie(COOKIE_NAME_JWT_TOKEN, value, path=get_cookie_path(), secure=secure, httponly=True, samesite="lax")
        return response

    return app


def _quoted(address: str) -> str:
    return quote(address, safe="")
