"""Errors in the shape of Anthropic's API. Pure."""

from __future__ import annotations

from ...errors import ContextExceeded, InvalidRequest, LlamaHTTPError

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""What Anthropic's clients know an error by, by HTTP status; the rest goes by its class of status."""
NAMES = {"'response_format'": "'output_config.format'", ".function.parameters'": ".input_schema'"}
"""What the fields of the chat that a request becomes are called there, and by the client."""


class ThreadsUnsupported(InvalidRequest):
    """A client would have the server keep the conversation; on this error it sends all of it."""

    def __init__(self) -> None:
        super().__init__("Field 'thread': this server keeps no conversations; send all of it", param="thread")


def anthropic_error_body(error: LlamaHTTPError, id_request: str) -> dict[str, object]:
    """What a client gets for `error`."""
    fallback = "api_error" if error.status >= 500 else "invalid_request_error"
    fault: dict[str, object] = {"type": TYPES.get(error.status, fallback), "message": message(error)}
    if isinstance(error, ThreadsUnsupported):
        fault["details"] = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    return {"type": "error", "error": fault, "request_id": id_request}


def message(error: LlamaHTTPError) -> str:
    """The message, in the client's words: by these agents know that a conversation has to be made shorter."""
    match error:
        case ContextExceeded(n_prompt=n_prompt, n_ctx=n_ctx):
            return f"prompt is too long: {n_prompt} tokens > {n_ctx} maximum"
    text = str(error)
    for name, theirs in NAMES.items():
        text = text.replace(name, theirs)
    return text
