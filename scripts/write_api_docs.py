"""Write docs/api.md, docs/coverage.md and what README.md says of coverage between its markers.

From the tables of routes, parameters and flags, and from what `reference_tests.py` found. Run from the repository: no
arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llama_server_api import BY_ENVIRONMENT, PARAMETERS, REASONS
from llama_server_api import ROUTES as REFERENCE_ROUTES
from write_flag_table import counts as flag_counts
from write_flag_table import wrapped

from llamahttp.api.field import Field, Table
from llamahttp.api.json_schema import describe, of_field
from llamahttp.api.openapi import document, refusals
from llamahttp.api.parameters import COMPLETION_TABLE
from llamahttp.api.route import LLAMA_REFUSALS, Route, disabled
from llamahttp.api.routes import ROUTES

ROOT = Path(__file__).parent.parent
DOCS, README = ROOT / "docs", ROOT / "README.md"
BETWEEN = re.compile(r"(?<=<!-- coverage -->\n).*?(?=<!-- /coverage -->)", re.DOTALL)
MADE = "<!-- made by scripts/write_api_docs.py -->\n"

API_HEAD = f"""{MADE}# HTTP API

llama-server's API: the same paths, names and limits. `GET /openapi.json` has all of this for programs. Null is the same
as absent, of several names the first listed counts, integers are cut from fractions, and members that are not listed
are ignored. Every refusal is `{{"error": {{"code", "message", "type"}}}}`, where a route does not say otherwise; its
message names the field, its value and the limit.
"""
SHARED_HEAD = """
## Parameters of every route that generates text

"""


def api() -> str:
    """docs/api.md."""
    tags = list(dict.fromkeys(route.tag for route in ROUTES))
    parts = [API_HEAD]
    for tag in tags:
        parts.append(f"\n## {tag}\n")
        parts += [section(route) for route in ROUTES if route.tag == tag]
    return "".join([*parts, SHARED_HEAD, table(COMPLETION_TABLE.fields.values()), refused(), shapes()])


def refused() -> str:
    """Every answer but the one that was asked for."""
    rows = "".join(f"| {status} | {answer['description']} |\n" for status, answer in refusals().items())
    return f"\n## Refusals\n\n| status | |\n|---|---|\n{rows}"


def section(route: Route) -> str:
    """One route: what it does, takes and gives."""
    paths = ", ".join(f"`{path}`" for path in route.paths)
    text = f"\n### {route.method} {paths}\n\n{route.description}\n"
    if isinstance(route.body, Table):
        own = [field for field in route.body.fields.values() if not is_shared(field)]
        if len(own) < len(route.body.fields):
            text += "\nTakes the [parameters of every route that generates text]"
            text += "(#parameters-of-every-route-that-generates-text)" + (", and:\n" if own else ".\n")
        text += f"\n{table(own)}" if own else ""
    if route.segments:
        text += f"\nIn the path:\n\n{table(route.segments)}"
    if route.query:
        text += f"\nIn the query:\n\n{table(route.query)}"
    if route.answers:
        text += f"\nAnswers {names(route.answers)}"
        text += f"; with `stream` events of {names(route.events)}.\n" if route.events else ".\n"
    if route.refusals is not LLAMA_REFUSALS:
        text += f"\nRefusals are {names((route.refusals.shape,))}.\n"
    return text


def is_shared(field: Field) -> bool:
    return COMPLETION_TABLE.fields.get(field.name) is field


def names(types: tuple[Any, ...]) -> str:
    return " or ".join(dict.fromkeys(type_name(each) for each in types))


def type_name(each: Any) -> str:
    inner = getattr(each, "__args__", ())
    if getattr(each, "__origin__", each) is list:
        return f"a list of {type_name(inner[0])}"
    return "a JSON object" if inner else f"[{each.__name__}](#{each.__name__.lower()})"


def table(fields: Any) -> str:
    """Fields as rows."""
    rows = ["| name | type | default | limits | |\n|---|---|---|---|---|\n"]
    for field in fields:
        every = ", ".join(f"`{name}`" for name in field.names)
        rows.append(f"| {every} | {kind(field)} | {default(field)} | {limits(field)} | {cell(describe(field))} |\n")
    return "".join(rows)


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def kind(field: Field) -> str:
    return field.kind.name.lower() if field.shape is None else in_words(of_field(field))


def default(field: Field) -> str:
    if field.required:
        return "required"
    return "" if field.default in (None, [], {}, (), "") else f"`{json.dumps(of_field(field)['default'])}`"


def limits(field: Field) -> str:
    if field.one_of:
        return ", ".join(f"`{each}`" for each in field.one_of)
    low, high = (
        None if limit is None or abs(limit) >= 2**31 - 1 else f"{limit:g}" for limit in (field.low, field.high)
    )
    if field.soft or (low is None and high is None):
        return ""
    return f"at least {low}" if high is None else f"at most {high}" if low is None else f"{low} to {high}"


def shapes() -> str:
    """Every component of the document."""
    text = "\n## Shapes\n"
    for name, schema in sorted(document(ROUTES)["components"]["schemas"].items()):
        text += f"\n### {name}\n\n{schema.get('description', '')}\n"
        properties = schema.get("properties", {})
        if properties:
            text += "\n| member | type | |\n|---|---|---|\n"
            required = schema.get("required", ())
            for member, inner in properties.items():
                text += f"| `{member}` | {cell(in_words(inner))} | {'' if member in required else 'not always'} |\n"
    return text


def in_words(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(in_words(each) for each in schema["anyOf"] if each != {"type": "null"})
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    kinds = schema.get("type", "any")
    kind = kinds if isinstance(kinds, str) else next(each for each in kinds if each != "null")
    return f"array of {in_words(schema['items'])}" if kind == "array" and schema.get("items") else str(kind)


# --- coverage


def coverage() -> str:
    """docs/coverage.md."""
    routes, parameters = list(route_rows()), list(parameter_rows())
    text = f"{MADE}# What is covered of llama-server's HTTP API\n\n"
    text += "Counted against the names in `scripts/llama_server_api.py`.\n"
    for title, rows in (("Routes", routes), ("Parameters", parameters)):
        states = [state for *_, state, _ in rows]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        text += f"\n## {title}: {len(rows)}\n\n{counts}.\n\n| | | state | |\n|---|---|---|---|\n"
        text += "".join(f"| `{where}` | {name} | {state} | {cell(why)} |\n" for where, name, state, why in rows)
    return text


def route_rows() -> Iterator[tuple[str, str, str, str]]:
    """Method and path, nothing, state and reason of each route of llama-server."""
    served = {f"{route.method} {path}": route for route in ROUTES for path in route.paths}
    for line in REFERENCE_ROUTES.split("\n"):
        words = line.split()
        for method, path in zip(words[::2], words[1::2], strict=True):
            name = f"{method} {path}"
            if name in BY_ENVIRONMENT:
                yield name, "", "served", BY_ENVIRONMENT[name]
                continue
            if name not in served:
                yield name, "", "absent", REASONS[name]
                continue
            route = served[name]
            if route.handler is disabled:
                yield name, "", "refused", "403: off by default in llama-server, always here"
            elif not route.answers and route.content_type == "application/json":
                yield name, "", "refused", f"501: {route.description}"
            else:
                yield name, "", "served", ""


def parameter_rows() -> Iterator[tuple[str, str, str, str]]:
    """Route, name, state and reason of each parameter of llama-server."""
    routes = {path: route for route in ROUTES for path in route.paths if route.method == "POST"}
    for path, text in PARAMETERS.items():
        for name in text.split():
            state, why = state_of(routes[path], path, name)
            yield path, f"`{name}`", state, why


def state_of(route: Route, path: str, name: str) -> tuple[str, str]:
    reason = REASONS.get(f"{path} {name}", REASONS.get(name, ""))
    if not isinstance(route.body, Table):
        return "effective", ""
    fields = {alias: field for field in route.query for alias in field.names}
    field = route.body.field_of(name) or fields.get(name)
    if field is None:
        return "ignored", reason
    if field.inert:
        return "accepted", describe(field)
    if field.later is not None:
        return "partly", "some values are refused with 501"
    return "effective", ""


def summary() -> str:
    """What stands in README.md: routes, parameters, flags and llama-server's own tests."""
    routes = [state for *_, state, _ in route_rows()]
    parameters = [state for *_, state, _ in parameter_rows()]
    n_flags, n_effective = numbers(r"Of llama-server's (\d+) flags (\d+) are effective", flag_counts())
    n_pass, n_tests = numbers(r"\*\*(\d+) of the (\d+)\*\*", (DOCS / "reference-tests.md").read_text(encoding="utf-8"))
    return wrapped(
        f"How much of llama-server this is: {routes.count('served')} of its {len(routes)} routes and "
        f"{parameters.count('effective')} of its {len(parameters)} parameters ([docs/coverage.md](docs/coverage.md)), "
        f"{n_effective} of its {n_flags} flags ([docs/flags.md](docs/flags.md)), and {n_pass} of the {n_tests} of its "
        "own tests that it passes itself with models of ours ([docs/reference-tests.md](docs/reference-tests.md))."
    )


def numbers(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    assert found, f"{pattern} is not said any more"
    return found.groups()


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    text = README.read_text(encoding="utf-8")
    README.write_text(BETWEEN.sub(lambda _: summary(), text), encoding="utf-8")
    (DOCS / "api.md").write_text(api(), encoding="utf-8")
    (DOCS / "coverage.md").write_text(coverage(), encoding="utf-8")


if __name__ == "__main__":
    main()
