"""Grammars: compiled once for a text, and then which tokens may come next. Knows nothing of HTTP.

llguidance does the matching, over Lark that `gbnf` makes. Measured at 128k tokens against libllama's own matcher, which
llama-server uses (bench/NOTES.md): a mask takes 0.1 to 2 ms instead of 13 to 60 ms, one token 2 to 50 us; a grammar
that is ambiguous without end hits a limit and fails its own request, where libllama's stacks double with every
character until the process is gone; libllama also aborts the process when told a token that does not match. The
language is the same: the tests compare the masks. (Only where a token ends inside a character does libllama forbid some
that it allows whole, and allow bytes that begin none.)

`compile` may run on any thread; a `GrammarState` belongs to one request. The calls into llguidance release the GIL.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Sequence

import llguidance
import numpy as np
from llguidance.numpy import fill_next_token_bitmask
from numpy.typing import NDArray

from . import lark
from .abc import Vocab
from .gbnf import GrammarError, to_lark

N_CACHED = 64
"""Compiled grammars that are kept; one takes tens of KiB, and megabytes for the largest."""
N_BYTES = 256
SLICES = [r'[^"\\\x00-\x1F\x7F]{1,30}']
"""Tokens that the strings of JSON allow together, without a look at each: a mask takes 10 us instead of 1.4 ms. More
slices gain nothing, and each takes 0.15 s to make, with the GIL."""

_LIMITS = llguidance.LLParserLimits(verbose_errors=False, max_grammar_size=100_000)
"""Its own limit of symbols lets one take 6 s to compile."""
_BAD_REGEX = re.compile(r"regex parse error:\n.*?^error: ([^\n]+)", re.DOTALL | re.MULTILINE)
_PLACE = re.compile(r"(at )?\d+\(\d+\): ")
"""Line and column of what llguidance cannot read; limits have a place too."""


class _Tokens:
    """A vocabulary as llguidance wants it, and after its end a token for each byte, to take parts of tokens."""

    def __init__(self, vocab: Vocab) -> None:
        # 0xFF marks special tokens there. It is in no UTF-8, so that nothing that it begins can match
        pieces = (*vocab.special_pieces[:], *(bytes([byte]) for byte in range(N_BYTES)))
        self.tokens = [b"" if piece.startswith(b"\xff") else piece for piece in pieces]
        self.special_token_ids = sorted(vocab.eog)
        self.bos_token_id = None
        self.eos_token_id = min(vocab.eog, default=len(pieces) - 1)  # it must have one: 0xFF, which never comes

    def __call__(self, text: str) -> list[int]:
        return []  # would be asked for texts that are forced, which `gbnf` switches off


class Grammar:
    """A compiled grammar; hands out states at its beginning. Any thread."""

    def __init__(
        self,
        vocab: GrammarVocab,
        matcher: llguidance.LLMatcher,
        forbidden: frozenset[int] = frozenset(),
        field: str = "grammar",
    ) -> None:
        """`field`: of the request that demands it, for errors."""
        self._vocab = vocab
        self._matcher = matcher
        self._forbidden = forbidden
        self._field = field

    def start(self) -> GrammarState:
        return GrammarState(self._vocab, self._matcher.deep_copy(), self._forbidden, self._field)

    def of(self, field: str) -> Grammar:
        """The same, demanded by another field of the request."""
        return Grammar(self._vocab, self._matcher, self._forbidden, field)

    def showing(self, pieces: Sequence[bytes]) -> Grammar:
        """The same without the control tokens that do not show in an answer, whose bytes of tokens are `pieces`: the
        text that shows obeys it then."""
        vocab = self._vocab
        hidden = frozenset(token for token, piece in vocab.control_pieces.items() if pieces[token] != piece)
        return Grammar(vocab, self._matcher, hidden - vocab.eog, self._field)

    def after(self, text: str) -> Grammar:
        """The same for what follows `text`. Raises GrammarError if nothing that it allows begins so."""
        state = self.start()
        if not state.take(text.encode(), ()):
            raise GrammarError(f"the beginning of the answer, {text[-64:]!r}, does not obey what the answer has to")
        return Grammar(self._vocab, state.matcher, self._forbidden, self._field)


class GrammarVocab:
    """What grammars need of a vocabulary: takes 0.3 s for 128k tokens, of which 0.06 with the GIL in one piece."""

    def __init__(self, vocab: Vocab) -> None:
        tokens = _Tokens(vocab)
        eog = sorted(vocab.eog)
        self.n_tokens = vocab.n_tokens
        self.eog = vocab.eog
        self.n_all = len(tokens.tokens)
        self.tokenizer = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(tokens), n_vocab=self.n_all, eos_token=eog, slices=SLICES
        )
        pieces = vocab.pieces[:]
        self.control_pieces = {
            i: piece for i, piece in enumerate(vocab.special_pieces[:]) if piece != pieces[i] and i not in vocab.eog
        }
        """Bytes of the tokens whose text does not show in answers by itself."""
        never = [i for i, piece in enumerate(tokens.tokens[: self.n_tokens]) if piece[:1] in (b"", b"\0")]
        self.never = frozenset(never) - vocab.eog
        """Tokens without a text, or whose text begins with NUL: no grammar allows them, as in llama-server."""
        self.never_ids = np.array(sorted(self.never), np.intp)
        self.eog_ids = np.array(sorted(self.eog), np.intp)


class GrammarCompiler:
    """Compiles grammars for one vocabulary and keeps the last ones."""

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        self._making = threading.Lock()
        self._made: GrammarVocab | None = None
        self.compile = functools.lru_cache(N_CACHED)(self._compile)
        """Compile a GBNF text, or Lark that begins with `%llguidance`, as some builds of llama-server take it. Takes
        milliseconds, for hostile texts up to a second. Raises GrammarError."""
        self.compile_lark = functools.lru_cache(N_CACHED)(self._compile_lark)
        """Compile a text in llguidance's Lark. Raises GrammarError."""

    def prepare(self) -> None:
        """Make what all grammars need, so that the first one need not wait for it. Any thread."""
        _ = self._tokens

    @property
    def _tokens(self) -> GrammarVocab:
        with self._making:
            if self._made is None:
                self._made = GrammarVocab(self._vocab)
            return self._made

    def _compile(self, text: str) -> Grammar:
        if text.startswith(lark.HEADER):
            return self._compile_lark(lark.checked(text))
        return self._compile_lark(to_lark(text, self._vocab.n_tokens, self._find_token))

    def _compile_lark(self, text: str) -> Grammar:
        tokens = self._tokens
        matcher = llguidance.LLMatcher(tokens.tokenizer, text, log_level=0, limits=_LIMITS)
        grammar = Grammar(tokens, matcher)
        if not matcher.is_error():
            first = grammar.start()
            if first.can_begin():
                return grammar
            matcher = first.matcher
        raise GrammarError(f"failed to parse grammar: {_reason(matcher)}")

    def _find_token(self, text: str) -> int | None:
        ids = self._vocab.tokenize(text, add_special=False, parse_special=True)
        return int(ids[0]) if len(ids) == 1 else None


def _reason(matcher: llguidance.LLMatcher) -> str:
    """What llguidance says in its first line, without its marks."""
    return reason(matcher.get_error())


def reason(error: str) -> str:
    """An error of llguidance in a line for clients."""
    unreadable = _BAD_REGEX.search(error)
    if unreadable:
        return f"a regular expression cannot be read: {unreadable[1]}"
    error = error.partition("\n")[0].partition("; try")[0].partition("; consider")[0]
    if not error or "NoExtension" in error:
        return "nothing matches it"
    if _PLACE.match(error) and "limit" not in error:
        return error
    return f"it is too complex ({error.removeprefix('panic: ')})"


class GrammarState:
    """How far one text has come in a grammar."""

    def __init__(
        self, vocab: GrammarVocab, matcher: llguidance.LLMatcher, forbidden: frozenset[int], field: str
    ) -> None:
        self._vocab = vocab
        self._field = field
        self.matcher = matcher
        self._forbidden = forbidden
        self._forbidden_ids = np.array(sorted(forbidden), np.intp)
        self._bits = np.empty((1, (vocab.n_all + 31) // 32), np.int32)

    @property
    def is_complete(self) -> bool:
        """The text so far is a whole one of the language."""
        return bool(self.matcher.is_accepting()) and not self.matcher.is_error()

    def allows(self, token: int) -> bool:
        """Whether the text may go on with `token`; an end-of-generation token ends only a whole text."""
        if token in self._vocab.eog:
            return self.is_complete
        if token in self._vocab.never or token in self._forbidden:
            return False
        return self.matcher.validate_tokens([token]) == 1

    def mask(self) -> NDArray[np.bool_]:
        """`allows` of every token, bool[n_vocab]."""
        bits, vocab = self._bits, self._vocab
        fill_next_token_bitmask(self.matcher, bits)
        allowed = np.unpackbits(bits.view(np.uint8)[0], count=vocab.n_tokens, bitorder="little").view(np.bool_)
        if self.matcher.is_error():
            allowed[:] = False
        allowed[vocab.never_ids] = False
        allowed[self._forbidden_ids] = False
        allowed[vocab.eog_ids] = self.is_complete
        return allowed

    def fault(self) -> GrammarError | None:
        """Why no token may come next, if that is so."""
        if self.mask().any():
            return None
        reason = _reason(self.matcher) if self.matcher.is_error() else "no token continues what it demands"
        return GrammarError(f"Field {self._field!r}: the answer cannot follow it any further: {reason}")

    def can_begin(self) -> bool:
        """Go one token on. False if there is none, or the grammar is too ambiguous for it already."""
        allowed = np.flatnonzero(self.mask())
        if len(allowed):
            self.accept(int(allowed[0]))
        return len(allowed) > 0 and not self.matcher.is_error()

    def accept(self, token: int) -> None:
        """Go on with a token that is allowed."""
        if token not in self._vocab.eog:
            is_taken = self.matcher.consume_token(token)
            assert is_taken or self.matcher.is_error(), f"token {token} is not allowed"

    def take(self, head: bytes, tokens: Sequence[int]) -> bool:
        """Go on with bytes and then tokens, if all of them are allowed: False otherwise, and nothing has changed."""
        ids = [self._vocab.n_tokens + byte for byte in head] + list(tokens)
        if self.matcher.validate_tokens(ids) < len(ids):
            return False
        return bool(self.matcher.consume_tokens(ids))
