"""Flags: llama-server's command line and its LLAMA_ARG_* variables, turned into a configuration.

One table drives parsing, the environment, `--help`, completions and the README: `row` says what a row is, a file for
each group of flags holds its rows, `table` puts them together. Imported before anything heavy, so that `--help` and a
wrong flag are answered at once.
"""

from .completion import completion
from .reading import Show, UsageError, parse, unknown_variables
from .row import Constant, Effective, Flag, Ignored, Preset, Refused, Switch, Unused, Value
from .showing import help_text, markdown_table
from .table import BY_NAME, FLAGS, GROUPS
from .values import INT_MAX

__all__ = [
    "BY_NAME",
    "FLAGS",
    "GROUPS",
    "INT_MAX",
    "Constant",
    "Effective",
    "Flag",
    "Ignored",
    "Preset",
    "Refused",
    "Show",
    "Switch",
    "Unused",
    "UsageError",
    "Value",
    "completion",
    "help_text",
    "markdown_table",
    "parse",
    "unknown_variables",
]
