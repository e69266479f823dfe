from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from llamahttp.api.responses.output import Output, Payload
from llamahttp.api.responses.tools import Origin
from llamahttp.tools.events import CallBegin, CallEnd, CallText, Content, Event, Reasoning


def told(output: Output, found: Sequence[Event], *, is_cut: bool = False) -> list[Payload]:
    """All events, as they are at their time."""
    payloads = [dict(payload) for each in found for payload in output.take(each)]
    return payloads + [dict(payload) for payload in output.finish(is_cut=is_cut)]


def test_a_malformed_call_is_incomplete() -> None:
    output = Output()
    told(output, [CallBegin(0, "1", "f"), CallText(0, '{"a": '), Content("what?")])
    call, message = output.items
    assert (call["status"], call["arguments"], message["status"]) == ("incomplete", '{"a": ', "completed")


def test_only_what_is_cut_is_incomplete() -> None:
    output = Output()
    told(output, [Reasoning("a"), Content("b")], is_cut=True)
    assert [item["status"] for item in output.items] == ["completed", "incomplete"]


def test_thoughts_are_sealed_when_they_are_over() -> None:
    output = Output(seals_thoughts=True)
    payloads = told(output, [Reasoning("a"), Reasoning("b"), Content("c")])
    assert output.items[0]["encrypted_content"] == "llamahttp1.YWI="
    assert payloads[-1]["item"] is output.items[1]


PIECES = st.one_of(
    st.builds(Reasoning, st.text(min_size=1, max_size=3)),
    st.builds(Content, st.text(min_size=1, max_size=3)),
    st.sampled_from([CallBegin(0, "1", "f"), CallBegin(1, "2", "g"), CallBegin(1, "2", "c")]),
)


@given(st.lists(PIECES), st.booleans())
def test_events_add_up_to_the_items(pieces: list[Event], is_cut: bool) -> None:
    found: list[Event] = []
    for piece in pieces:
        found += [piece, CallText(0, "{}"), CallEnd(0)] if isinstance(piece, CallBegin) else [piece]
    output = Output(origins={"c": Origin("c", is_custom=True)})
    payloads = told(output, found, is_cut=is_cut)
    texts: dict[str, str] = {}
    open_items: list[str] = []
    for payload in payloads:
        kind = payload["type"]
        if kind == "response.output_item.added":
            open_items.append(payload["item"]["id"])
            assert payload["output_index"] == len(texts)
            texts[open_items[-1]] = ""
        elif kind == "response.output_item.done":
            assert open_items.pop() == payload["item"]["id"]
        else:
            assert payload["item_id"] == open_items[-1]
            texts[open_items[-1]] += payload.get("delta", "")
    assert not open_items
    assert list(texts) == [item["id"] for item in output.items]
    for item in output.items:
        match item["type"]:
            case "function_call":
                shown = item["arguments"]
            case "custom_tool_call":
                shown = item["input"]
            case _:
                shown = item["content"][0]["text"]
        assert texts[item["id"]] == shown
