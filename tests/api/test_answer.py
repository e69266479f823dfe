from __future__ import annotations

from llamahttp.api.answer import Answer
from llamahttp.api.parameters import COMPLETION_TABLE
from llamahttp.api.schema import completion_request
from llamahttp.task import Finished, PromptProgress, StopReason, Timings, Tokens

PIECES = [bytes([i]) for i in range(256)]


class FakeStream:
    """Remembers where it was told to stop."""

    def __init__(self) -> None:
        self.stopped_after: list[int] = []

    def stop(self, n_tokens: int) -> None:
        self.stopped_after.append(n_tokens)


def make_answer(**body: object) -> tuple[Answer, FakeStream]:
    stream = FakeStream()
    request = completion_request(COMPLETION_TABLE, body, n_slots=1)
    return Answer(0, 0, 5, stream, request, PIECES, keeps_ids=True), stream  # type: ignore[arg-type]


def tokens(text: str, predicted_ms: float = 0.0) -> Tokens:
    return Tokens(tuple(text.encode()), Timings(0, 5, 1.0, len(text), predicted_ms))


def finished(reason: StopReason) -> Finished:
    return Finished(reason, Timings(0, 5, 1.0, 9, 9.0), 0, 14)


def test_tokens_that_run_ahead_of_a_stop_string_are_dropped() -> None:
    answer, stream = make_answer(stop=["lo"])
    assert answer.take(tokens("hello")) == "hel"
    assert answer.take(tokens(" world")) == ""
    assert answer.finish(finished(StopReason.CALLER)) == ""
    assert (answer.text, answer.n_predicted, answer.ids) == ("hel", 5, list(b"hello"))
    assert (answer.stop_type, answer.finish_reason, answer.stopping_word) == ("word", "stop", "lo")
    assert stream.stopped_after == [5]


def test_a_stop_string_counts_even_if_the_engine_has_ended_meanwhile() -> None:
    answer, _ = make_answer(stop=["l"])
    answer.take(tokens("hello"))
    answer.finish(finished(StopReason.LIMIT))
    assert answer.stop_type == "word"


def test_text_held_back_comes_at_the_end() -> None:
    answer, stream = make_answer(stop=["low"])
    assert answer.take(tokens("hello")) == "hel"
    assert answer.finish(finished(StopReason.EOS)) == "lo"
    assert (answer.text, answer.stop_type, stream.stopped_after) == ("hello", "eos", [])


def test_the_time_limit_waits_for_a_new_line() -> None:
    answer, stream = make_answer(t_max_predict_ms=100)
    assert answer.take(tokens("a\n", predicted_ms=50)) == "a\n"
    assert answer.take(tokens("b", predicted_ms=150)) == "b"
    assert answer.take(tokens("c\n", predicted_ms=160)) == "c\n"
    assert answer.take(tokens("d", predicted_ms=170)) == ""
    answer.finish(finished(StopReason.CALLER))
    assert (answer.text, answer.stop_type, stream.stopped_after) == ("a\nbc\n", "limit", [5])


def test_a_full_context_is_told() -> None:
    answer, _ = make_answer()
    answer.take(tokens("a"))
    answer.finish(finished(StopReason.CONTEXT))
    assert (answer.is_truncated, answer.stop_type, answer.finish_reason) == (True, "limit", "length")


def test_a_line_that_is_not_indented_ends_the_answer() -> None:
    answer, stream = make_answer(n_indent=2)
    assert answer.take(tokens("a\n  b\n")) == "a\n  b\n"
    assert answer.take(tokens(" cd")) == " "
    assert answer.take(tokens("ef")) == ""
    assert answer.finish(finished(StopReason.CALLER)) == ""
    assert (answer.text, answer.stop_type, stream.stopped_after) == ("a\n  b\n ", "limit", [9])


def test_an_answer_that_is_cut_off_has_met_a_limit_though_its_own_end_came_first() -> None:
    answer, _ = make_answer(n_indent=2)
    answer.take(tokens("a\nb"))
    answer.finish(finished(StopReason.EOS))
    assert (answer.text, answer.stop_type) == ("a\n", "limit")


def test_the_first_report_of_progress_tells_what_was_cached() -> None:
    answer, _ = make_answer()
    assert answer.take_progress(PromptProgress(9, 3, 7, 5.0)) == (
        PromptProgress(9, 3, 3, 0.0),
        PromptProgress(9, 3, 7, 5.0),
    )
    assert answer.take_progress(PromptProgress(9, 3, 9, 6.0)) == (PromptProgress(9, 3, 9, 6.0),)
