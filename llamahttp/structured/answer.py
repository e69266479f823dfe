"""Answer: what the content of an answer has to be, as a rule of llguidance's Lark. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..errors import InvalidRequest
from .pattern import PatternError, to_rust, whole
from .schema import Schema, enforceable

HEAD = '%llguidance {"no_forcing": true}'
"""No forcing: a text that must come may come in any tokens, not only in those that it would be tokenised to."""


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """JSON that a schema validates."""

    schema: Schema
    is_strict: bool = True
    """Nothing is left to the model."""

    def rule(self) -> str:
        """Raises SchemaError."""
        return f"%json {json.dumps(enforceable(self.schema, is_strict=self.is_strict), ensure_ascii=False)}"


@dataclass(frozen=True, slots=True)
class RegexAnswer:
    """A text that all of a regular expression matches."""

    pattern: str

    def rule(self) -> str:
        """Raises InvalidRequest."""
        try:
            return f"/{to_rust(whole(self.pattern))}/"
        except PatternError as error:
            raise InvalidRequest(f"the pattern {self.pattern[:64]!r}: {error}") from None
