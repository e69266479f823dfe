import { describe, expect, test } from "vitest";
import { faultOf, treeOf } from "../src/lib/json";
import { isJson } from "../src/lib/model";
import { breaches } from "../src/lib/schema";

describe("what is wrong with JSON, and where", () => {
  test.each(['{"a": [1, "b", null]}', "true", "[]", '"x"', "-1.5e3"])("%s is right", (text) =>
    expect(faultOf(text)).toBeNull(),
  );
  test.each([
    ['{\n  "a": 1\n  "b": 2\n}', 3, 3, "comma"],
    ['{"a": 1,}', 1, 9, "name in double quotes"],
    ["{'a': 1}", 1, 2, "double quotes"],
    ["[1, 2", 1, 6, "closing bracket"],
    ["{} {}", 1, 4, "follows the end"],
    ["[1] // one", 1, 5, "no comments"],
    ["", 1, 1, "nothing yet"],
  ])("%j", (text, line, column, message) => {
    expect(faultOf(text)).toMatchObject({ line, column });
    expect(faultOf(text)!.message).toContain(message);
  });
});

test("of JSON that is being written there is a tree of what is there", () => {
  const tree = treeOf('{"a": [1, {"b": "he');
  expect(tree!.children![0]!.children![1]).toMatchObject({ type: "array" });
  expect(treeOf("")).toBeNull();
});

test.each([201, 100_000])("JSON that is nested %i times has no tree, and breaks nothing", (n) => {
  for (const text of ["[".repeat(n) + "]".repeat(n), "[".repeat(n), '{"a":'.repeat(n)]) expect(treeOf(text)).toBeNull();
  expect(faultOf("[".repeat(n) + "]".repeat(n))).toBeNull();
  expect(treeOf("[".repeat(100) + "]".repeat(100))).not.toBeNull();
});

test.each([
  ['{"a": 1}', true],
  [" [1]\n", true],
  ['{"a": ', false],
  ["7", false],
  ["Here: {}", false],
])("%j is an answer in JSON: %s", (text, is) => expect(isJson(text)).toBe(is));

describe("whether an answer follows its schema", () => {
  const schema = JSON.stringify({
    type: "object",
    properties: { age: { $ref: "#/$defs/age" }, tags: { type: "array", items: { type: "string" } } },
    required: ["age"],
    additionalProperties: false,
    $defs: { age: { type: "integer", minimum: 0 } },
  });
  test("it does", () => expect(breaches('{"age": 3, "tags": ["a"]}', schema)).toEqual([]));
  test("what breaks it is named with its place", () => {
    expect(breaches('{"age": -3, "tags": ["a", 1]}', schema)).toMatchObject([{ place: "#/age" }, { place: "#/tags/1" }]);
    expect(breaches("{}", schema)![0]!.reason).toContain("age");
    expect(breaches('{"age": 1, "other": 2}', schema)).not.toEqual([]);
  });
  test("where the schema is none nothing is said", () => {
    expect(breaches("{}", "{")).toBeNull();
    expect(breaches("{}", '{"$ref": "#/none"}')).toBeNull();
  });
});
