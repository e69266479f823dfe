"""Answers: what one task generates, from results of the engine to text and numbers for a dialect to show.

Event loop only; one answer is one choice of one request.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..queue import ResultStream
from ..task import Finished, PromptProgress, StopReason, Timings, TokenProbs, Tokens
from ..text import TextAssembler
from .indent import IndentRule
from .schema import CompletionRequest


class Answer:
    """One answer while it grows. `take` each result of its stream, in order."""

    def __init__(
        self,
        index: int,
        id_prompt: int,
        n_prompt: int,
        stream: ResultStream,
        request: CompletionRequest,
        pieces: Sequence[bytes],
        *,
        prefix: str = "",
        keeps_ids: bool = False,
    ) -> None:
        """`prefix`: text shown before what is generated. `keeps_ids`: the dialect shows token ids."""
        self.index = index
        self.id_prompt = id_prompt
        self.n_prompt = n_prompt
        self.stream = stream
        self.ids: list[int] = []
        """Every generated token, if the dialect shows ids or probabilities."""
        self.probs: list[TokenProbs] = []
        self.timings: Timings | None = None
        self.finished: Finished | None = None
        self.head = b""
        self.tail = b""
        """What surrounds the text in every chunk of this answer; the dialect's own."""
        self.has_begun = False
        """Its first tokens have been taken, and the dialect's opening was sent."""
        self.n_shown = 0
        """Tokens of `ids` that a chunk has shown."""
        self._assembler = TextAssembler(pieces, request.stop)
        self._pieces = pieces
        self._prefix = prefix
        self._unsent_prefix = prefix
        self._keeps_ids = keeps_ids or request.probs.n_computed > 0
        self._t_max_ms = request.t_max_predict_ms
        self._indent = IndentRule(request.n_indent) if request.n_indent else None
        self._end: int | None = None
        self._is_stopped = request.n_predict == 0
        self._has_progress = False

    def take(self, tokens: Tokens) -> str:
        """Text that may go out now, perhaps none. Ends the task when a stop string or the time limit is hit."""
        if self._is_stopped:
            return ""
        assembler = self._assembler
        text = assembler.feed(tokens.ids)
        self.timings = tokens.timings
        if self._keeps_ids:
            n_new = assembler.n_tokens - len(self.ids)
            self.ids.extend(tokens.ids[:n_new])
            self.probs.extend(tokens.probs[:n_new])
        if self._indent is not None:
            text = self._indented(text, self._indent)
        if assembler.stopped is not None or self._end is not None or self._is_late(text, tokens):
            self._is_stopped = True
            self.stream.stop(assembler.n_tokens)
        if self._unsent_prefix:
            text, self._unsent_prefix = self._unsent_prefix + text, ""
        return text

    def take_progress(self, progress: PromptProgress) -> Sequence[PromptProgress]:
        """What to tell of it: as in llama-server the first report says how much there was to begin with."""
        if self._has_progress:
            return (progress,)
        self._has_progress = True
        return PromptProgress(progress.n_prompt, progress.n_cached, progress.n_cached, 0.0), progress

    def finish(self, finished: Finished) -> str:
        """The rest of the text, when the task has ended."""
        self.finished = finished
        self.timings = finished.timings
        rest = self._assembler.finish()
        if self._indent is not None:
            rest = self._indented(rest, self._indent)
        rest, self._unsent_prefix = self._unsent_prefix + rest, ""
        return rest

    def _indented(self, text: str, rule: IndentRule) -> str:
        """The part of `text`, which the assembler gave last, that is indented as it has to be."""
        if self._end is not None:
            return ""
        at = rule.end(text)
        if at is None:
            return text
        self._end = len(self._assembler.text) - len(text) + at
        return text[:at]

    def _is_late(self, text: str, tokens: Tokens) -> bool:
        """As in llama-server only a new line ends an answer that took too long."""
        return self._t_max_ms > 0 and "\n" in text and tokens.timings.predicted_ms > self._t_max_ms

    @property
    def text(self) -> str:
        return self._prefix + self._assembler.text[: self._end]

    @property
    def n_predicted(self) -> int:
        """Tokens generated, those of a stop string included."""
        return self._assembler.n_tokens

    @property
    def n_probs_shown(self) -> int:
        """Tokens that have a part in the text: all, but for those that only a stop string has dropped."""
        if self._assembler.stopped is None and self._end is None:
            return len(self.ids)
        n_left = len(self._assembler.text[: self._end].encode())
        for i, id_token in enumerate(self.ids):
            if n_left <= 0:
                return i
            n_left -= len(self._pieces[id_token])
        return len(self.ids)

    @property
    def stopping_word(self) -> str:
        return self._assembler.stopped or ""

    def offset_of(self, index: int) -> int:
        """Characters of the text before the generated token `index`; at most one of those before it is not whole."""
        data = b"".join([self._pieces[id_token] for id_token in self.ids[:index]])
        return len(self._prefix) + len(data.decode("utf-8", "replace"))

    @property
    def likelihood(self) -> float:
        """The mean log probability of the tokens; only where probabilities are computed."""
        return sum(entry.logprob for entry in self.probs) / len(self.probs) if self.probs else 0.0

    @property
    def stop_type(self) -> str:
        """Why the answer ended, in llama-server's words: eos, word, limit, or none for an empty prompt."""
        if self._assembler.stopped is not None and self._end is None:
            return "word"
        reason = None if self.finished is None else self.finished.reason
        if self._is_stopped and reason is StopReason.EOS:
            return "limit"  # it came to its own end before it heard that it had ended earlier
        return {StopReason.EOS: "eos", StopReason.EMPTY: "none"}.get(reason, "limit") if reason else "limit"

    @property
    def finish_reason(self) -> str:
        """The same in OpenAI's words: stop or length."""
        return "stop" if self.stop_type in ("eos", "word") else "length"

    @property
    def is_truncated(self) -> bool:
        """The context was full: it ended the answer, or was shifted."""
        finished = self.finished
        return finished is not None and (finished.is_truncated or finished.reason is StopReason.CONTEXT)
