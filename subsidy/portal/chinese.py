"""Airflow's pages in Simplified Chinese and Beijing time from the first visit on; whoever chooses another language keeps it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_SCRIPT = b"""<script>try{for(const[k,v]of[['i18nextLng','zh-CN'],['timezone','"Asia/Shanghai"']])
if(!localStorage.getItem('subsidy.'+k)){localStorage.setItem(k,v);localStorage.setItem('subsidy.'+k,'1')}}catch(e){}</script>"""


class ChineseFirst:
    """ASGI middleware that adds one small script to the page of the UI; it runs before the UI reads its language."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        other = ("/api/", "/auth/", "/execution/", "/static/", "/ui/", "/subsidy/")
        if scope["type"] != "http" or scope["method"] != "GET" or str(scope["path"]).startswith(other):
            await self.app(scope, receive, send)
            return
        start: MutableMapping[str, Any] | None = None
        parts: list[bytes] = []

        async def rewrite(message: MutableMapping[str, Any]) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_page(message):
                start = message
            elif start is None or message["type"] != "http.response.body":
                await send(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    body = b"".join(parts).replace(b"<head>", b"<head>" + _SCRIPT, 1).replace(b'lang="en"', b'lang="zh-CN"', 1)
                    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
                    start["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
                    await send(start)
                    await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, rewrite)


def _is_page(message: MutableMapping[str, Any]) -> bool:
    headers = {name.lower(): value for name, value in message["headers"]}
    return headers.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in headers
