from __future__ import annotations

import pytest

from .conftest import Client, Start


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the request has no body; JSON is expected"),
        (b" \n", "the request has no body; JSON is expected"),
        (b"\xef\xbb\xbf", "the request has no body; JSON is expected"),
        (b"{nope", "the request body is not valid JSON: "),
        (b'{"a": NaN}', "the request body is not valid JSON: "),
        (b'{"a": "\xff"}', "the request body is not valid JSON: "),
        (b'{"a": "\\ud800"}', "the request body is not valid JSON: "),
        (b"[" * 200_000, "the request body is nested too deeply"),
        (b"[1]", "the request body must be a JSON object, but is array"),
        (b'"x"', "the request body must be a JSON object, but is string"),
        (b"null", "the request body must be a JSON object, but is null"),
    ],
)
@pytest.mark.parametrize("path", ["/completion", "/v1/chat/completions", "/tokenize"])
async def test_bad_bodies_are_bad_requests(client: Client, path: str, body: bytes, message: str) -> None:
    async with client.post(path, data=body) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert answer["error"]["message"].startswith(message)


async def test_the_content_type_does_not_matter(client: Client) -> None:
    headers = {"Content-Type": "text/plain"}
    async with client.post("/tokenize", data=b'{"content": "a"}', headers=headers) as response:
        assert await response.read() == b'{"tokens":[97]}'
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_a_byte_order_mark_does_not_matter(client: Client) -> None:
    async with client.post("/tokenize", data=b'\xef\xbb\xbf{"content": "a"}') as response:
        assert await response.read() == b'{"tokens":[97]}'


async def test_a_compressed_body_is_refused_and_the_next_request_works(client: Client) -> None:
    headers = {"Content-Encoding": "gzip"}
    async with client.post("/tokenize", data=b"not even gzip", headers=headers) as response:
        answer = await response.json()
    assert response.status == 400
    assert "compressed (gzip)" in answer["error"]["message"]
    async with client.post("/tokenize", data=b'{"content": "a"}') as response:
        assert response.status == 200


async def test_a_body_that_announces_too_much_is_refused(start: Start) -> None:
    client = await start(max_body=100)
    async with client.post("/tokenize", data=b" " * 101) as response:
        answer = await response.json()
    assert response.status == 413
    assert answer["error"]["message"] == "the request body is larger than 100 bytes, which is the limit"


async def test_a_body_that_turns_out_too_large_is_refused(start: Start) -> None:
    client = await start(max_body=100)

    async def chunks():  # type: ignore[no-untyped-def]
        for _ in range(3):
            yield b" " * 40

    async with client.post("/tokenize", data=chunks()) as response:
        assert response.status == 413


async def test_the_body_may_be_as_large_as_the_limit(start: Start) -> None:
    client = await start(max_body=100)
    async with client.post("/tokenize", data=b'{"content": "a"}'.ljust(100)) as response:
        assert response.status == 200
