"""The same flags given to both servers are the same defaults: a request without sampling fields is answered alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llamahttp.api.schema import SAMPLING_NAMES

from .servers import pair
from .test_constraints import NO_TIES
from .test_tokens import PROMPTS, assert_same

SEED = ("--seed", "11")
BIASES = [word for token, bias in NO_TIES for word in ("-l", f"{token:.0f}+{bias:.3f}")]
FLAGS: list[tuple[str, ...]] = [
    (*SEED,),
    ("--temp", "0"),
    (*SEED, "--temp", "1.4", "--top-k", "0", "--top-p", "0.7", "--min-p", "0.02"),
    (*SEED, "--top-k", "12", "--typical", "0.8", "--top-nsigma", "1.5"),
    (*SEED, "--samplers", "penalties;temperature;min_p", "--min-p", "0.1", "--repeat-penalty", "1.3"),
    (*SEED, "--sampling-seq", "etk", "--presence-penalty", "0.7", "--frequency-penalty", "0.4", "--repeat-last-n", "9"),
    (*SEED, "--dry-multiplier", "2.5", "--dry-base", "1.5", "--dry-allowed-length", "1", "--dry-penalty-last-n", "300"),
    (*SEED, "--dry-multiplier", "2.5", "--dry-sequence-breaker", "e", "--dry-sequence-breaker", "th"),
    (*SEED, "--xtc-probability", "0.6", "--xtc-threshold", "0.02"),
    (*SEED, "--dynatemp-range", "0.6", "--dynatemp-exp", "1.5"),
    (*SEED, "--mirostat", "2", "--mirostat-ent", "3", "--mirostat-lr", "0.2"),
    (*SEED, "--ignore-eos", "-l", "700+3.5", "-l", "701-2", "-n", "30"),
    (*SEED, "--adaptive-target", "0.3", "--adaptive-decay", "0.8", "--sampling-seq", "ka"),
    (*SEED, "--grammar", 'root ::= ("yes " | "no " | "maybe "){3,9}', *BIASES),
]


@pytest.mark.parametrize("flags", FLAGS, ids=[" ".join(flags[:8]) for flags in FLAGS])
def test_defaults_from_the_command_line(llama_gguf: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    with pair(llama_gguf, tmp_path / "log", flags) as both:
        for prompt in (PROMPTS[1], PROMPTS[15]):
            ours, reference = both.both(prompt=prompt, n_predict=None)
            assert_same(ours, reference)
            assert len(ours["tokens"]) > 1
            same_settings(ours["generation_settings"], reference["generation_settings"])
        own, theirs = both.both(prompt=PROMPTS[1], n_predict=None, seed=3, temperature=1.1)
        assert_same(own, theirs)


def same_settings(ours: dict[str, Any], reference: dict[str, Any]) -> None:
    for name in (*SAMPLING_NAMES, "n_predict", "grammar"):
        expected = reference[name]
        assert ours[name] == (pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else expected), name
