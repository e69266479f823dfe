"""GBNF: what is an error and where, and the limits that keep hostile grammars short."""

from __future__ import annotations

import time

import pytest

from llamahttp.gbnf import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_OPTIONAL,
    MAX_REFERENCES,
    MAX_REPETITION,
    GrammarError,
    to_lark,
)

N_TOKENS = 300


def rules(text: str) -> list[str]:
    """The rules of the Lark grammar, without the lines that every one has."""
    return to_lark(text, N_TOKENS).split("\n")[2:]


def test_every_terminal_is_one_character() -> None:
    assert rules(r'root ::= "ab" [x-z_]' + "\n") == [
        "r1: T0 T1 T2",
        r"T0: /[\x{61}-\x{61}]/",
        r"T1: /[\x{62}-\x{62}]/",
        r"T2: /[\x{5F}-\x{5F}\x{78}-\x{7A}]/",
    ]


def test_blanks_comments_and_lines() -> None:
    text = '# a comment\nroot   ::=\n  "a" # another\n\nb::= (\n "c"\n | "d" )\r\nroot ::= b'
    assert rules(text)[0] == "r1: r2"


@pytest.mark.parametrize(
    ("escape", "code"),
    [(r"\x41", 0x41), (r"\u00e4", 0xE4), (r"\U0001F600", 0x1F600), (r"\n", 10), (r"\"", 34), (r"\\", 92), ("ä", 0xE4)],
)
def test_escapes(escape: str, code: int) -> None:
    assert rules(f'root ::= "{escape}"')[1] == rf"T0: /[\x{{{code:X}}}-\x{{{code:X}}}]/"


def test_an_inverse_class_is_all_other_characters() -> None:
    assert rules("root ::= [^b-y]")[1] == (r"T0: /[\x{1}-\x{61}\x{7A}-\x{D7FF}\x{E000}-\x{10FFFF}]/")


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ('root ::= "a"*', "T0{0,}"),
        ('root ::= "a"+', "T0{1,}"),
        ('root ::= "a"?', "T0{0,1}"),
        ('root ::= "a"{3}', "T0{3,3}"),
        ('root ::= "a"{2,}', "T0{2,}"),
        ('root ::= "a"{2,5}', "T0{2,5}"),
        (f'root ::= "a"{{2,{MAX_REPETITION + 1}}}', "T0{2,}"),
        ('root ::= "a"{0,1000000}', "T0{0,}"),
        ('root ::= "a"{0}', ""),
        ('root ::= "ab"*', "r2{0,}"),
        ('root ::= "a"+*', "r3{0,}"),
        ("root ::= [] [^]", ""),
        ("root ::= <[7]>", "<[7]>"),
        ("root ::= !<[7]>", "<[0-6,8-299]>"),
        ("root ::= !<[0]>", "<[1-299]>"),
    ],
)
def test_what_becomes_of_it(text: str, symbols: str) -> None:
    root = next(rule for rule in rules(text) if rule.startswith("r1:"))
    assert root.removeprefix("r1:").strip() == symbols


def test_a_token_by_its_text() -> None:
    lark = to_lark("root ::= <think> !<think>", N_TOKENS, {"<think>": 5}.get)
    assert "r1: <[5]> <[0-4,6-299]>" in lark


@pytest.mark.parametrize("part", ["[ab]?", "x", "([ab]* | [c])", "(x x | [c])"])
def test_parts_in_a_row_that_may_all_be_left_out_are_limited(part: str) -> None:
    others = '\nx ::= y\ny ::= z | "y"\nz ::= [ab]*'
    n = MAX_OPTIONAL
    assert to_lark(f"root ::= {f'{part} ' * n}[c] {f'{part} ' * n}{others}", N_TOKENS)
    with pytest.raises(GrammarError, match=f"{n + 1} optional parts in a row are more than the limit of {n}"):
        to_lark(f"root ::= {f'{part} ' * (n + 1)}{others}", N_TOKENS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not contain a 'root' symbol"),
        ("# nothing", "does not contain a 'root' symbol"),
        ('rot ::= "a"', "does not contain a 'root' symbol"),
        ('root := "a"', "line 1, column 6: expecting '::='"),
        ('root ::= "a', "line 1, column 12: unexpected end of input"),
        ("root ::= [a", "line 1, column 12: unexpected end of input"),
        ('root ::= ("a"', r"line 1, column 14: expecting '\)'"),
        ('root ::= "a")', "line 1, column 13: expecting newline or end"),
        ('root ::= "a"\n  | "b"', "line 2, column 3: expecting a name"),
        ("root ::= a\n\na ::= b", "line 3, column 7: undefined rule identifier 'b'"),
        (r'root ::= "\q"', "line 1, column 11: unknown escape"),
        (r'root ::= "\x4"', "line 1, column 13: expecting 2 hex chars"),
        ("root ::= *", r"expecting preceding item to \*/\+/\?/{"),
        ('root ::= ""*', "expecting preceding item"),
        ('root ::= "a"{', "line 1, column 14: expecting an integer"),
        ('root ::= "a"{,5}', "line 1, column 14: expecting an integer"),
        ('root ::= "a"{1', "line 1, column 15: expecting '}'"),
        ('root ::= "a"{5,2}', "at least 5 and at most 2 repetitions"),
        (f'root ::= "a"{{{MAX_REPETITION + 1}}}', "2001 repetitions are more than the limit of 2000"),
        ('root ::= ("a"{0,1000}){1000}', "more than the limit of 2000"),
        ('root ::= "a"{99999999999999999999}', "is too large"),
        ("root ::= <[300]>", "token 300 is not in the vocabulary of 300 tokens"),
        ("root ::= <[]>", "expecting an integer"),
        ("root ::= <a b", "expecting '>'"),
        ("root ::= <nothing>", "invalid token '<nothing>'"),
        ('root ::= "a\0b"', "line 1, column 12: a NUL character"),
        ("%llguidance {}\nstart: /a/", "line 1, column 1: expecting a name"),
        ("x" * (MAX_CHARACTERS + 1), f"more than the limit of {MAX_CHARACTERS}"),
        ("root ::= " + "(" * (MAX_DEPTH + 1), f"nested more than {MAX_DEPTH} deep"),
    ],
)
def test_an_error_says_what_and_where(text: str, message: str) -> None:
    with pytest.raises(GrammarError, match=message) as caught:
        to_lark(text, N_TOKENS)
    assert str(caught.value).startswith("failed to parse grammar: ")


def chain(n: int) -> str:
    return "root ::= a0\n" + "\n".join(f"a{i} ::= a{i + 1}" for i in range(n)) + f'\na{n} ::= "x"'


def test_rules_that_lead_from_one_to_the_next_are_counted() -> None:
    to_lark(chain(MAX_REFERENCES - 2), N_TOKENS)
    with pytest.raises(GrammarError, match=f"more than {MAX_REFERENCES} rules"):
        to_lark(chain(MAX_REFERENCES - 1), N_TOKENS)


@pytest.mark.parametrize("text", ["(" * 50_000, 'root ::= ("a"' * 12_000, "root ::= " + "[" * 60_000, chain(3000)])
def test_hostile_texts_are_refused_at_once(text: str) -> None:
    began = time.thread_time()
    with pytest.raises(GrammarError):
        to_lark(text, N_TOKENS)
    assert time.thread_time() - began < 1
