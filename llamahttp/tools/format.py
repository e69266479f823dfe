"""Format: how the models of one chat template write thoughts and calls."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .pattern import Call, Many, Node, Prose, Text, firsts, literals, walk, without_calls


@dataclass(frozen=True, slots=True)
class Thought:
    """Reasoning at the beginning of an answer."""

    start: str
    end: str
    ends_with_call: bool = False
    """Models begin a call without closing the thought."""
    after: str = ""
    """What has to follow it, before a call."""

    def opening(self, prompt: str) -> str:
        """The end of a prompt that has begun a thought, with the white space after it; empty if it has not."""
        start, stripped = self.start.strip(), prompt.rstrip()
        return prompt[len(stripped) - len(start) :] if start and stripped.endswith(start) else ""


@dataclass(frozen=True, slots=True)
class Island:
    """Something in an answer that is not plain content, told by how it begins."""

    node: Node
    is_weak: bool = False
    """It begins as content may: it counts only before there is any, and then only if it is a call of a known tool."""

    @property
    def firsts(self) -> tuple[str, ...]:
        return firsts(self.node)

    @property
    def has_call(self) -> bool:
        return any(isinstance(part, Call) for part in walk(self.node))

    @property
    def has_list(self) -> bool:
        """Several calls stand in one island."""
        return any(isinstance(part, Many) for part in walk(self.node))


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The format of one template. Immutable; found once, when the template is loaded."""

    name: str = "content only"
    thought: Thought | None = None
    islands: tuple[Island, ...] = ()
    gap: str = ""
    """What stands between two islands that are calls, and before the first."""
    triggers: tuple[str, ...] = ()
    """Regular expressions for where a call begins, in their first group, if its first literals do not tell. NAMES in
    them stands for the tools."""
    primer: str = ""
    """The end of the prompt, where an island begins with it."""
    n_id: int = 32
    """Characters of the ids that are made for calls."""
    max_calls: int = 0
    """The most calls that an answer may have; 0 is any number."""

    @property
    def calls(self) -> tuple[Island, ...]:
        return tuple(island for island in self.islands if island.has_call)

    @property
    def literals(self) -> frozenset[str]:
        """Every literal text of it; among them are those special tokens whose text the parser has to see."""
        found = {self.thought.start, self.thought.end} if self.thought else set()
        for island in self.islands:
            found.update(literals(island.node))
        return frozenset(text for text in found if text.strip())

    @property
    def reasons(self) -> bool:
        """Answers may hold reasoning."""
        prose = (part for island in self.islands for part in walk(island.node) if isinstance(part, Prose))
        return self.thought is not None or any(prose)

    def without_calls(self) -> ChatFormat:
        """The same where there are no tools: what reads as a call is content."""
        nodes = [without_calls(island.node) for island in self.islands]
        thought = replace(self.thought, ends_with_call=False) if self.thought else None
        islands = tuple(Island(node) for node in nodes if node is not None)
        return ChatFormat(self.name, thought, islands, primer=self.primer if islands else "")


CONTENT_ONLY = ChatFormat()


def mark(text: str) -> Island:
    """Text that is not shown."""
    return Island(Text(text))
