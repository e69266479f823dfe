from __future__ import annotations

import pytest

from llamahttp.api.defaults import from_metadata


def test_a_file_may_recommend_sampling_parameters() -> None:
    metadata = {
        "general.name": "x",
        "general.sampling.sequence": "top_k;temp",
        "general.sampling.top_k": "20",
        "general.sampling.temp": "0.600000",
        "general.sampling.penalty_last_n": "32",
        "general.sampling.penalty_repeat": "1.1",
    }
    assert from_metadata(metadata) == {
        "samplers": ("top_k", "temperature"),
        "top_k": 20,
        "temperature": 0.6,
        "repeat_last_n": 32,
        "repeat_penalty": 1.1,
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("top_k", "many"),
        ("penalty_repeat", "0"),
        ("penalty_last_n", "-1"),
        ("sequence", "top_k;nonsense"),
        ("temp", "nan"),
    ],
)
def test_what_makes_no_sense_is_left_out_with_a_warning(key: str, value: str, caplog: pytest.LogCaptureFixture) -> None:
    assert from_metadata({f"general.sampling.{key}": value}) == {}
    assert f"general.sampling.{key} of the model's file is ignored" in caplog.text
