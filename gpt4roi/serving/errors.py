"""Errors as the OpenAI clients expect them: a status and one sentence."""

from __future__ import annotations

from fastapi.responses import JSONResponse

TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
RETRY_AFTER_S = 2


class ApiError(Exception):
    """A refusal; `param` names the field at fault. 429 and 503 tell the client when to come again."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        # A message may quote half a character of the client's, which no JSON can hold.
        self.message = message.encode("utf-8", "replace").decode("utf-8")
        self.status, self.param = status, param

    def body(self) -> dict[str, dict[str, object]]:
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.status}}

    def response(self) -> JSONResponse:
        headers = {"Retry-After": str(RETRY_AFTER_S)} if self.status in (429, 503) else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)
