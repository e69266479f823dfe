from __future__ import annotations

import pytest

from llamahttp import samplers


def test_llama_server_s_default_chain() -> None:
    expected = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature"
    assert ";".join(samplers.SAMPLERS) == expected
    assert samplers.from_codes("edskypmxt") == samplers.SAMPLERS


@pytest.mark.parametrize("name", ["top_n_sigma", "top-n-sigma", "topnsigma", " Top_N_Sigma "])
def test_a_name_has_several_spellings(name: str) -> None:
    assert samplers.from_names([name]) == ("top_n_sigma",)


def test_every_code_is_one_sampler() -> None:
    codes = "".join(samplers.CODES.values())
    assert samplers.from_codes(codes) == tuple(samplers.CODES)


def test_an_unknown_name_is_told_but_not_at_any_length() -> None:
    with pytest.raises(ValueError, match=r"there is no sampler 'x{50}';"):
        samplers.from_names(["x" * 10_000])
