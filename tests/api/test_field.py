from __future__ import annotations

import math

import pytest

from llamahttp.api.field import Field, Kind, Table
from llamahttp.errors import InvalidRequest, NotSupported

TABLE = Table(
    (
        Field("count", Kind.INTEGER, -1, "", aliases=("max_count", "limit"), low=-1, high=100),
        Field("share", Kind.NUMBER, 0.5, "", low=0.0, high=1.0, soft=True),
        Field("decay", Kind.NUMBER, 0.9, "", low=0.0, high=0.99),
        Field("flag", Kind.BOOLEAN, False, ""),
        Field("words", Kind.STRINGS, (), ""),
        Field("stop", Kind.STOP, (), "", high=3),
        Field("bias", Kind.BIAS, (), "", high=6),
        Field("order", Kind.SAMPLERS, (), ""),
        Field("shape", Kind.OBJECT, {}, ""),
        Field("colour", Kind.STRING, "red", "", one_of=("red", "green")),
        Field("magic", Kind.INTEGER, 0, "", later=lambda value: value > 0),
    )
)


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        ({}, "count", -1),
        ({"count": None}, "count", -1),
        ({"limit": 3}, "count", 3),
        ({"limit": 3, "max_count": 4}, "count", 4),
        ({"limit": 3, "max_count": 4, "count": 5}, "count", 5),
        ({"count": None, "limit": 3}, "count", 3),
        ({"count": 2.7}, "count", 2),
        ({"count": True}, "count", 1),
        ({"share": 7}, "share", 1.0),
        ({"share": -1e300}, "share", 0.0),
        ({"words": ["a", ""]}, "words", ("a", "")),
        ({"stop": "a"}, "stop", ("a",)),
        ({"stop": ["a", ""]}, "stop", ("a",)),
        ({"order": "dk"}, "order", ("dry", "top_k")),
        ({"order": ["top_k"]}, "order", ("top_k",)),
        ({"magic": 0}, "magic", 0),
        ({"bias": [[5, 1], ["hi", -2.5], [6, False]]}, "bias", ((5, 1.0), ("hi", -2.5), (6, -math.inf))),
        ({"bias": {"5": 1, "-7": 2, "hi": False}}, "bias", ((5, 1.0), (-7, 2.0), ("hi", -math.inf))),
        ({"bias": [[5, 10**400], [6, -(10**400)]]}, "bias", ((5, 1e308), (6, -1e308))),
        ({"share": 10**400}, "share", 1.0),
        ({"bias": [[5], [5, True], [5, "x"], [True, 1], 7, [None, 1]]}, "bias", ()),
        ({"unknown": object()}, "count", -1),
    ],
)
def test_values_are_read(body: dict[str, object], name: str, value: object) -> None:
    assert TABLE.decode(body)[name] == value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"count": "x"}, "Field 'count': type must be number, but is string"),
        ({"max_count": [1]}, "Field 'max_count': type must be number, but is array"),
        ({"count": 101}, "Field 'count': Value must be between -1 <= value <= 100, but got 101"),
        ({"limit": -2}, "Field 'limit': Value must be between -1 <= value <= 100, but got -2"),
        ({"count": math.inf}, "Field 'count': Value must be finite, but got inf"),
        ({"decay": 2}, "Field 'decay': Value must be between 0.000000 <= value <= 0.990000, but got 2.000000"),
        ({"share": {}}, "Field 'share': type must be number, but is object"),
        ({"flag": 1}, "Field 'flag': type must be boolean, but is number"),
        ({"words": ["a", 1]}, "Field 'words': type must be array of strings, but is number"),
        ({"stop": 5}, "Field 'stop': type must be array of strings, but is number"),
        ({"stop": ["a"] * 4}, "Field 'stop': at most 3 entries are allowed, but got 4"),
        ({"bias": [[5, 1]] * 7}, "Field 'bias': at most 6 entries are allowed, but got 7"),
        ({"bias": 5}, "Field 'bias': type must be array or object, but is number"),
        ({"shape": "x"}, "Field 'shape': type must be object, but is string"),
        ({"colour": "blue"}, "Field 'colour': Value must be one of red, green, but got blue"),
    ],
)
def test_wrong_values_are_named(body: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        TABLE.decode(body)
    assert str(caught.value) == message


def test_a_value_that_needs_a_missing_feature_is_not_ignored() -> None:
    with pytest.raises(NotSupported, match="'magic'"):
        TABLE.decode({"magic": 1})


@pytest.mark.parametrize("value", [1e39, 10**39, 10**400, -(10**400)])
def test_numbers_too_large_for_the_library_are_refused(value: float) -> None:
    table = Table([Field("penalty", Kind.NUMBER, 0.0, "")])
    with pytest.raises(InvalidRequest, match="must be finite"):
        table.decode({"penalty": value})
    assert table.decode({"penalty": -3})["penalty"] == -3.0


def test_decoding_leaves_the_defaults_alone() -> None:
    TABLE.decode({"count": 5})
    assert TABLE.decode({})["count"] == -1
