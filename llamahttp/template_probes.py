"""Template probes: trial renderings that show what a chat template does, bounded as a whole.

A template is somebody else's program: one that takes long takes long some forty times before the first chat.
"""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time

from .errors import InvalidRequest
from .sandbox import TooSlow

MAX_SECONDS = 1.0
"""Most CPU time of all probes of a template. Those of an ordinary one take some ten milliseconds."""


class Probes:
    """What has come of those of one template. None is made after one that ran into the time limit of a rendering."""

    def __init__(self) -> None:
        self._left_s = MAX_SECONDS
        self._has_rendered = False
        self._first_fault = ""

    @property
    def fault(self) -> str:
        """What the first probe failed of; empty if any has succeeded."""
        return "" if self._has_rendered else self._first_fault

    def make(self, render: Callable[[], str]) -> str:
        """What `render` gives; empty if the template refuses, or time is up."""
        if self._left_s <= 0:
            return ""
        started = thread_time()
        try:
            text = render()
        except InvalidRequest as error:
            self._first_fault = self._first_fault or str(error)
            if isinstance(error.__cause__, TooSlow):
                self._left_s = 0.0
            return ""
        finally:
            self._left_s -= thread_time() - started
        self._has_rendered = True
        return text
