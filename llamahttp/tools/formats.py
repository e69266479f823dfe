"""Formats that comparing renderings does not find, or not wholly, in the same language. Data.

Each stands with texts that its templates hold. One without calls says only what the thoughts look like, or what marks
are not shown: the calls are found.
"""

from __future__ import annotations

from .format import CONTENT_ONLY, ChatFormat, Island, Thought, mark
from .pattern import (
    Arguments,
    Call,
    CallObject,
    Choice,
    Fields,
    Id,
    Key,
    Kind,
    Many,
    Member,
    Name,
    Node,
    Notated,
    Prose,
    Role,
    Run,
    Seq,
    Text,
    Value,
    seq,
    soft,
)

THINK = Thought("<think>", "</think>")
NAME_ARGUMENTS = CallObject((Member(("name",), Name()), Member(("arguments",), Arguments())))

_IN_JSON = Choice((Text(" <|constrain|>json"), Text(" json"), Seq(())))
_HARMONY_END = (_IN_JSON, Text("<|message|>"), Arguments(), soft("<|call|>"))
_HARMONY_CALL = Call(seq(" to=functions.", Name(), *_HARMONY_END))
_HARMONY_ROLE_CALL = Call(
    seq(
        " to=functions.",
        Name(),
        "<|channel|>",
        Choice((Text("commentary"), Text("analysis"))),
        *_HARMONY_END,
    )
)
HARMONY = ChatFormat(
    "harmony",
    Thought("<|channel|>analysis<|message|>", "<|end|>", after="<|start|>assistant"),
    (
        Island(
            seq(
                "<|channel|>",
                Choice(
                    (
                        seq(
                            "analysis",
                            Choice(
                                (
                                    _HARMONY_CALL,
                                    seq("<|message|>", Prose(Role.REASONING, ("<|end|>", "<|channel|>"))),
                                )
                            ),
                        ),
                        seq("final", _IN_JSON, "<|message|>"),
                        seq("commentary", Choice((_HARMONY_CALL, Text("<|message|>")))),
                    )
                ),
            )
        ),
        Island(seq("<|start|>assistant", Choice((_HARMONY_ROLE_CALL, Seq(()))))),
        mark("<|end|>"),
        mark("<|return|>"),
        mark("<|call|>"),
    ),
    gap="<|start|>assistant",
    triggers=(r"(<\|channel\|>(?:commentary|analysis) to=functions\.)", r"( to=functions\.(?:NAMES)<\|channel\|>)"),
    primer="<|start|>assistant",
    max_calls=1,
)

_ATEM_FIELD = seq('\n<atem:parameter name="', Key(), '">', Value("", "</atem:parameter>"))
MUSE = ChatFormat(
    "muse",
    Thought(" to=self<|message|>", "<|eom|>", after="<|start|>assistant"),
    (
        Island(
            seq(
                "<|start|>assistant",
                " to=",
                Choice(
                    (
                        seq("self<|message|>", Prose(Role.REASONING, ("<|eom|>", "<|eot|>"))),
                        Text("user<|message|>"),
                        Call(
                            seq(
                                Name(),
                                '<|message|><atem:function_calls>\n<atem:invoke name="',
                                Name(),
                                '">',
                                Fields(_ATEM_FIELD),
                                "\n</atem:invoke>",
                                soft("\n</atem:function_calls>"),
                            )
                        ),
                    )
                ),
            )
        ),
        mark("<|eom|>"),
        mark("<|eot|>"),
    ),
    gap="<|eom|>",
    triggers=(r"( to=(?:NAMES)<\|message\|>)",),
    primer="<|start|>assistant",
)

FUNCTIONARY_3_2 = ChatFormat(
    "functionary v3.2",
    islands=(Island(seq(">>>", Choice((Text("all\n", is_exact=True), Call(seq(Name(), "\n", Arguments())))))),),
    triggers=(r"(?:^|>>>)((?:NAMES)\n)",),
    primer=">>>",
)

KIMI_K2 = ChatFormat(
    "kimi k2",
    islands=(
        Island(
            seq(
                "<|tool_calls_section_begin|>",
                Many(
                    Call(
                        seq(
                            "<|tool_call_begin|>",
                            Id(seq("functions.", Name(), ":", Run("[0-9]"))),
                            "<|tool_call_argument_begin|>",
                            Arguments(),
                            soft("<|tool_call_end|>"),
                        )
                    )
                ),
                soft("<|tool_calls_section_end|>"),
            )
        ),
    ),
)

_K3_FIELD = seq(
    '<|open|>argument key="',
    Key(),
    '" type="',
    Choice(
        (
            seq('string"<|sep|>', Value("", "<|close|>argument<|sep|>", Kind.STRING)),
            seq(
                Run("[a-z]", "object|array|number|boolean|null"),
                '"<|sep|>',
                Value("", "<|close|>argument<|sep|>", Kind.JSON),
            ),
        )
    ),
)
KIMI_K3 = ChatFormat(
    "kimi k3",
    Thought("<|open|>think<|sep|>", "<|close|>think<|sep|>", after="<|open|>response<|sep|><|close|>response<|sep|>"),
    (
        Island(
            seq(
                "<|open|>tools<|sep|>",
                Many(
                    Call(
                        seq(
                            '<|open|>call tool="',
                            Name(),
                            '" index="',
                            Run("[0-9]"),
                            '"<|sep|>',
                            Fields(_K3_FIELD),
                            "<|close|>call<|sep|>",
                        )
                    )
                ),
                soft("<|close|>tools<|sep|>"),
                soft("<|close|>message<|sep|>"),
            )
        ),
        mark("<|open|>response<|sep|>"),
        mark("<|close|>response<|sep|>"),
        mark("<|close|>message<|sep|>"),
    ),
)

MINIMAX = "]<]minimax[>["
_M3_FIELD = seq(f"{MINIMAX}<", Key(), ">", Value("", f"{MINIMAX}</{{key}}>", tag=MINIMAX))
MINIMAX_M3 = ChatFormat(
    "minimax m3",
    Thought("<mm:think>", "</mm:think>"),
    (
        Island(
            seq(
                f"{MINIMAX}<tool_call>\n",
                Many(
                    Call(
                        seq(
                            f'{MINIMAX}<invoke name="',
                            Name(),
                            '">',
                            Fields(_M3_FIELD, end=f"{MINIMAX}</invoke>"),
                            f"{MINIMAX}</invoke>",
                        )
                    ),
                    "\n",
                ),
                soft(f"\n{MINIMAX}</tool_call>"),
            )
        ),
    ),
)

GEMMA_4 = ChatFormat(
    "gemma 4",
    Thought("<|channel>thought\n", "<channel|>"),
    (
        Island(Call(seq("<|tool_call>call:", Name(), Notated("gemma"), soft("<tool_call|>")))),
        mark("<|tool_response>"),
    ),
)

LFM2 = ChatFormat(
    "lfm2",
    islands=(
        Island(
            seq(
                "<|tool_call_start|>[",
                Many(Call(seq(Name(), Notated("python"))), ", "),
                soft("]<|tool_call_end|>"),
            )
        ),
    ),
)


def array(opening: str, closing: str, item: Node = NAME_ARGUMENTS) -> Island:
    """Calls as a JSON array between marks."""
    return Island(seq(opening, Many(Call(item), ", "), soft(closing)))


COMMAND_R_PLUS = ChatFormat(
    "command r+",
    islands=(
        Island(
            seq(
                "Action:\n```json\n[\n    ",
                Many(
                    Call(CallObject((Member(("tool_name",), Name()), Member(("parameters",), Arguments())))), ",\n    "
                ),
                soft("\n]"),
                soft("```"),
            )
        ),
    ),
)

KNOWN: tuple[tuple[tuple[str, ...], ChatFormat], ...] = (
    (("<|channel|>", "<|start|>assistant"), HARMONY),
    (("<atem:function_calls>", "<|eom|>"), MUSE),
    ((">>>all", ">>>${recipient}"), FUNCTIONARY_3_2),
    (("<|tool_calls_section_begin|>", "<|tool_call_begin|>"), KIMI_K2),
    (("<|open|>", "<|close|>", "<|end_of_msg|>"), KIMI_K3),
    ((MINIMAX, "<tool_call>", "<invoke name="), MINIMAX_M3),
    (("<|tool_call>call:",), GEMMA_4),
    (("<|tool_list_start|>",), LFM2),
    (("List of tools: [",), LFM2),
    (("<|START_OF_TURN_TOKEN|>", "Action:", "directly-answer"), COMMAND_R_PLUS),
    (
        ("<|start_of_role|>", "<|tool_call|>", "<response>"),
        ChatFormat("granite 3.3", THINK, (array("<|tool_call|>[", "]"), mark("<response>"), mark("</response>"))),
    ),
    (
        ("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
        ChatFormat(
            thought=Thought("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
            islands=(mark("[END FINAL RESPONSE]"),),
        ),
    ),
    (("[THINK]", "[/THINK]"), ChatFormat(thought=Thought("[THINK]", "[/THINK]"))),
    (
        ("<|think|>", "<|begin|>assistant", "<|content|>"),
        ChatFormat(
            thought=Thought("<|think|>", "<|end|>", after="<|begin|>assistant"),
            islands=(mark("<|begin|>assistant"), mark("<|content|>"), mark("<|end|>")),
        ),
    ),
)


def find(source: str) -> ChatFormat:
    """What is known of a template: the first of `KNOWN` whose texts are all in its source."""
    return next((format for texts, format in KNOWN if all(text in source for text in texts)), CONTENT_ONLY)
