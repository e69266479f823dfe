"""Errors: one family, from the engine to the client.

Each class carries the HTTP status and the `type` that llama-server puts into its error bodies, so that whoever
notices a fault raises it and nobody has to translate it. Imports nothing.
"""

from __future__ import annotations


class LlamaHTTPError(Exception):
    """Base of the family; `str(error)` is the message a client or the terminal shows."""

    status = 500
    type = "server_error"
    retry_after: int | None = None
    """Seconds after which it is worth trying again, for `Retry-After`; None where nobody knows, or it never is."""
    param: str | None = None
    """The field of the request that is wrong, where it is one."""
    code: str | None = None
    """What OpenAI's clients know it by."""

    def body(self) -> dict[str, object]:
        """The JSON object that llama-server would send as `error`."""
        return {"code": self.status, "message": str(self), "type": self.type}


class InvalidRequest(LlamaHTTPError):
    """The request is wrong; the message names the field, the value and the limit."""

    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class SnapshotError(InvalidRequest):
    """A file of saved memory that is not one, is damaged, or was made with another model."""


class ContextExceeded(LlamaHTTPError):
    """The prompt does not fit into a slot's context."""

    status = 400
    type = "exceed_context_size_error"
    code = "context_length_exceeded"

    def __init__(self, n_prompt: int, n_ctx: int, what: str = "request", advice: str = "try increasing it") -> None:
        super().__init__(f"{what} ({n_prompt} tokens) exceeds the available context size ({n_ctx} tokens), {advice}")
        self.n_prompt = n_prompt
        self.n_ctx = n_ctx

    def body(self) -> dict[str, object]:
        return super().body() | {"n_prompt_tokens": self.n_prompt, "n_ctx": self.n_ctx}


class Disabled(LlamaHTTPError):
    """A feature that is off for everybody."""

    status = 403
    type = "feature_disabled"

    def body(self) -> dict[str, object]:
        return {"message": str(self), "type": self.type}


class Unauthorized(LlamaHTTPError):
    """No API key, or a wrong one."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(LlamaHTTPError):
    """The request may come from somebody whom the server's owner does not know of."""

    status = 403
    type = "permission_error"


class NotFound(LlamaHTTPError):
    """No such route or object."""

    status = 404
    type = "not_found_error"


class MethodNotAllowed(LlamaHTTPError):
    """The route exists, but not for this HTTP method."""

    status = 405
    type = "invalid_request_error"


class RequestTimeout(LlamaHTTPError):
    """The client began a request and does not go on with it."""

    status = 408
    type = "invalid_request_error"


class BodyTooLarge(LlamaHTTPError):
    """The request body is larger than the server reads."""

    status = 413
    type = "invalid_request_error"


class QueueFull(LlamaHTTPError):
    """The bounded queue has no place left; trying again later helps."""

    status = 429
    type = "unavailable_error"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: int | None = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotSupported(LlamaHTTPError):
    """A feature that is switched off, or that the model or this server does not have."""

    status = 501
    type = "not_supported_error"


class Unavailable(LlamaHTTPError):
    """The server cannot answer now: it is loading, recovering or stopping, or the request waited too long."""

    status = 503
    type = "unavailable_error"

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueTimeout(Unavailable):
    """The request waited for a slot as long as it may."""


class EngineError(LlamaHTTPError):
    """Something failed while this request was computed."""


class StartupError(LlamaHTTPError):
    """The server cannot start: a wrong flag, library, model or port. Shown on the terminal, never sent."""


class LibraryError(StartupError):
    """libllama is missing, does not load, or is not the version that the declarations describe."""


class ModelError(StartupError):
    """The model file is missing, corrupt, of an unknown architecture, or does not fit."""


class NoMemory(ModelError):
    """The model is an encoder: it has no memory of what it has read, to generate from."""
