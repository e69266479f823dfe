"""The table of flags as text: for `--help`, and for the README."""

from __future__ import annotations

from ..config import ServerConfig
from .row import Effective, Flag, Ignored, Refused, Unused, Value
from .table import GROUPS


def help_text() -> str:
    """The text of `--help`, grouped as the table is."""
    lines = ["usage: llamahttp [flags]", "", "Serves a GGUF model over HTTP, as llama-server does."]
    for group, flags in GROUPS.items():
        lines += ["", f"{group} flags:", ""]
        for flag in flags:
            lines += _help_lines(flag)
    lines += ["", "Every flag with a variable (env) can be set by it; the command line wins.", ""]
    return "\n".join(lines)


def _help_lines(flag: Flag, indent: int = 34, width: int = 110) -> list[str]:
    usage = _usage(flag)
    text = described(flag) + (f" (env: {flag.env})" if flag.env else "")
    lines = _wrapped(text, width - indent)
    if len(usage) + 2 > indent:
        return [usage] + [" " * indent + line for line in lines]
    return [usage.ljust(indent) + lines[0]] + [" " * indent + line for line in lines[1:]]


def _usage(flag: Flag) -> str:
    metavar = flag.metavar if isinstance(flag, Value | Unused) else ""
    return ", ".join(flag.all_names) + (f" {metavar}" if metavar else "")


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def described(flag: Flag) -> str:
    """What a flag does, in one line."""
    match flag:
        case Ignored():
            return f"no effect: {flag.why}"
        case Refused():
            return f"refused: {flag.why}"
        case Effective():
            return flag.help.format(_default(flag)) if "{" in flag.help else flag.help
    raise AssertionError(flag)


def _default(flag: Effective) -> object:
    default: object = ServerConfig()
    for name in flag.target.split("."):
        default = getattr(default, name)
    return {True: "on", False: "off"}[default] if isinstance(default, bool) else default


def markdown_table() -> str:
    """The tables of flags in Markdown, one for each group."""
    lines = []
    for group, flags in GROUPS.items():
        lines += [f"## {group}", "", "| flag | variable | meaning |", "|---|---|---|", *map(_markdown_row, flags), ""]
    return "\n".join(lines)


def _markdown_row(flag: Flag) -> str:
    cells = [f"`{_usage(flag)}`", f"`{flag.env}`" if flag.env else "", described(flag)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
