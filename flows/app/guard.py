"""Who may use the page: a browser on this computer that has the page itself open, and nobody else."""

from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.server import LOOPBACK

OWN_ONLY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'"


class Guard:
    """Answers to this computer's own names alone, refuses what another site's page sends, and lets a browser load
    nothing for the page, and send nothing from it, that is not its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = OWN_ONLY
            await send(message)

        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif reason := reason_against(Headers(scope=scope)):
            await PlainTextResponse(reason, HTTPStatus.FORBIDDEN)(scope, receive, send)
        else:
            await self.app(scope, receive, with_policy)


def reason_against(headers: Headers) -> str:
    """Why a request is refused; "" for one that is not."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if host.partition(":")[0] not in LOOPBACK:  # a site that has given its own name this computer's address
        return f"expected the host {LOOPBACK[0]}, found {host!r}"
    if origin is not None and urlsplit(origin).netloc != host:
        return f"expected the page of {host}, found that of {origin!r}"
    return ""
