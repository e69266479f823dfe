"""The compose file, held against the specification's own schema and against the Dockerfile and the entry script."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from .conftest import DEPLOY

TEXT = (DEPLOY / "compose.yaml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)


def interpolated(value: Any) -> Any:
    """The file as compose sees it when no variable is set: `${NAME:-default}` is the default."""
    if isinstance(value, dict):
        return {key: interpolated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item) for item in value]
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) if isinstance(value, str) else value


def test_it_follows_the_specification() -> None:
    package = pytest.importorskip("check_jsonschema", reason="check-jsonschema, which carries the schema, is missing")
    schemas = list(Path(package.__file__).parent.rglob("compose-spec*.json"))
    assert len(schemas) == 1
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator(json.loads(schemas[0].read_text())).validate(interpolated(FILE))


def test_every_variable_has_a_default() -> None:
    assert re.findall(r"\$\{[^}]*\}", TEXT) == re.findall(r"\$\{[A-Z_]+:-[^}]*\}", TEXT)


@pytest.mark.parametrize("name", ["llamahttp", "llamahttp-cuda"])
def test_the_services(entrypoint: ModuleType, name: str) -> None:
    service = interpolated(FILE)["services"][name]
    build = service["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    declared = set(re.findall(r"^ARG (\w+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))
    assert build["args"].keys() <= declared
    assert service["environment"].keys() >= (entrypoint.NUMBERS.keys() - {"PORT"}) | {"MODEL", "HF_TOKEN", "LLAMA_ARGS"}
    assert entrypoint.arguments(service["environment"], []) == ["--metrics"]
    assert service["ports"] == ["127.0.0.1:8080:8080"], "not for the whole network unless somebody wants that"
    assert int(service["stop_grace_period"].removesuffix("s")) > 10
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert {volume.split(":")[1] for volume in service["volumes"]} == {"/models", "/var/lib/llamahttp"}
