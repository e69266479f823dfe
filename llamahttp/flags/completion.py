"""Completion of flags and their values, as a script for a shell to source."""

from __future__ import annotations

from collections.abc import Callable

from .row import Flag, Refused, Unused, Value
from .showing import described
from .table import FLAGS

FILES = {
    "source.path": "gguf",
    "engine.loras": "gguf",
    "engine.control_vectors": "gguf",
    "chat_template": "jinja",
    "sampling.grammar": "gbnf",
    "sampling.json_schema": "json",
}
"""Endings of the files that flags take, by target."""

PATHS = ("FNAME", "PATH", "FILE", "DIR", "JINJA_TEMPLATE_FILE")
"""Metavars of files and directories."""

ZSH_SPECIAL = str.maketrans({"[": "(", "]": ")", **dict.fromkeys("\\':")})
"""What would end a description, and what stands for it."""


def completion(shell: str) -> str:
    """The script for `bash`, `zsh` or `fish`."""
    return SHELLS[shell]()


def _offered() -> list[Flag]:
    return [flag for flag in FLAGS if not isinstance(flag, Refused)]


def _values(flag: Flag) -> list[str]:
    """The words that a flag takes, where its metavar lists them."""
    metavar = _metavar(flag)
    for opening, separator, closing in ("{,}", "[|]", "<|>"):
        words = metavar[1:-1].split(separator)
        if metavar.startswith(opening) and metavar.endswith(closing) and len(words) > 1 and ".." not in metavar:
            return words
    return []


def _metavar(flag: Flag) -> str:
    return flag.metavar if isinstance(flag, Value | Unused) else ""


def _ending(flag: Flag) -> str | None:
    """Of the files that a flag takes, empty for any; None if it takes none."""
    if not isinstance(flag, Value) or not _metavar(flag).startswith(PATHS):
        return None
    return FILES.get(flag.target, "")


def _bash() -> str:
    lines = ["_llamahttp() {", '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"']
    lines += ["    local IFS=$'\\n'", '    case "$prev" in']
    for flag in _offered():
        if (words := _bash_words(flag)) is not None:
            lines += [f"    {'|'.join(flag.all_names)})", f"        COMPREPLY=({words})", "        return ;;"]
    names = "\\n".join(name for flag in _offered() for name in flag.all_names)
    lines += ["    esac", f"    COMPREPLY=($(compgen -W $'{names}' -- \"$cur\"))", "}"]
    return "\n".join([*lines, "complete -o filenames -F _llamahttp llamahttp", ""])


def _bash_words(flag: Flag) -> str | None:
    """What completes the flag's value; None if it takes none, nothing if nobody knows."""
    if values := _values(flag):
        return "$(compgen -W $'" + "\\n".join(values) + '\' -- "$cur")'
    match _ending(flag):
        case "":
            return '$(compgen -f -- "$cur")'
        case str(ending):
            return f'$(compgen -f -X \'!*.{ending}\' -- "$cur") $(compgen -d -- "$cur")'
    return "" if _metavar(flag) else None


def _zsh() -> str:
    lines = ["#compdef llamahttp", "_arguments -s \\"]
    for flag in _offered():
        for name in flag.all_names:
            text = described(flag).translate(ZSH_SPECIAL)
            lines.append(f"    '*{name}[{text}]{_zsh_value(flag)}' \\")
    return "\n".join([*lines, ""])


def _zsh_value(flag: Flag) -> str:
    if values := _values(flag):
        return f":value:({' '.join(values)})"
    match _ending(flag):
        case "":
            return ":file:_files"
        case str(ending):
            return f':file:_files -g "*.{ending}"'
    return ":value: " if _metavar(flag) else ""


def _fish() -> str:
    return "".join(_fish_line(flag) for flag in _offered())


def _fish_line(flag: Flag) -> str:
    words = ["complete -c llamahttp"]
    for name in flag.all_names:
        plain = name.lstrip("-")
        words.append(f"-l {plain}" if name.startswith("--") else f"-s {plain}" if len(plain) == 1 else f"-o {plain}")
    if values := _values(flag):
        words.append(f"-xa '{' '.join(values)}'")
    elif _ending(flag) is not None:
        words.append("-rF")
    elif _metavar(flag):
        words.append("-x")
    text = described(flag).replace("\\", "\\\\").replace("'", "\\'")
    return " ".join([*words, f"-d '{text}'"]) + "\n"


SHELLS: dict[str, Callable[[], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
