import { expect, test } from "vitest";
import { newMessage, NO_FORMAT } from "../src/lib/model";
import { body } from "../src/lib/request";
import { definitionsOf, EXAMPLES, faultOf, fromServer, readArguments, serverResult, type Tool } from "../src/lib/tools";

const TOOL: Tool = {
  id: "1",
  source: "browser",
  name: "add",
  description: "Adds.",
  parameters: '{"type": "object"}',
  code: "return 1",
  isOn: true,
  asks: false,
};

test("a tool needs a name of its own, a schema and code", () => {
  expect(faultOf(TOOL, [TOOL])).toBeNull();
  expect(faultOf({ ...TOOL, name: "a b" }, [])).toBe("name");
  expect(faultOf({ ...TOOL, name: "" }, [])).toBe("name");
  expect(faultOf({ ...TOOL, id: "2" }, [TOOL])).toBe("sameName");
  expect(faultOf({ ...TOOL, parameters: "[]" }, [])).toBe("parameters");
  expect(faultOf({ ...TOOL, parameters: "{" }, [])).toBe("parameters");
  expect(faultOf({ ...TOOL, code: " " }, [])).toBe("code");
  expect(faultOf({ ...TOOL, source: "server", code: "" }, [])).toBeNull();
});

test("only tools that are on and can be used are offered", () => {
  const tools = [TOOL, { ...TOOL, id: "2", name: "off", isOn: false }, { ...TOOL, id: "3", name: "broken", code: "" }];
  expect(definitionsOf(tools)).toEqual([
    { type: "function", function: { name: "add", description: "Adds.", parameters: { type: "object" } } },
  ]);
});

test("the examples can be used", () => {
  const tools = EXAMPLES.map((example, i) => ({ ...TOOL, ...example, id: String(i) }));
  expect(definitionsOf(tools)).toHaveLength(EXAMPLES.length);
});

test("the server's tools are read, and ask unless they say that they only read", () => {
  const definition = { function: { name: "read_file", description: "Reads", parameters: { type: "object" } } };
  expect(fromServer({ tool: "read_file", permissions: { write: false }, definition })).toMatchObject({
    name: "read_file",
    source: "server",
    asks: false,
  });
  expect(fromServer({ tool: "x" }).asks).toBe(true);
});

test("results of the server's tools", () => {
  expect(serverResult({ plain_text_response: "hello" })).toEqual({ text: "hello", isError: false });
  expect(serverResult({ error: "no such file" })).toEqual({ text: "no such file", isError: true });
  expect(serverResult({ a: 1 })).toEqual({ text: '{"a":1}', isError: false });
});

test("arguments are an object, and none is an empty one", () => {
  expect(readArguments('{"a": 1}')).toEqual({ a: 1 });
  expect(readArguments("")).toEqual({});
  expect(() => readArguments("[1]")).toThrow(TypeError);
  expect(() => readArguments('{"a')).toThrow(SyntaxError);
});

test("a request names the tools, and the results follow the calls", () => {
  const call = { id: "c", name: "add", arguments: "{}", result: { text: "5", isError: false, ms: 1 } };
  const ask = newMessage({ conversationId: "x", parentId: null, role: "user", content: "2 + 3?" });
  const answer = newMessage({ conversationId: "x", parentId: ask.id, role: "assistant", toolCalls: [call] });
  const options = {
    system: "",
    parameters: {},
    custom: {},
    format: NO_FORMAT,
    contents: new Map<string, string>(),
    think: null,
    resume: false,
    tools: definitionsOf([TOOL]),
    probabilities: 8,
  };
  const made = body([ask, answer], options) as { messages: unknown[]; tools: unknown[] };
  expect(made.messages.slice(1)).toEqual([
    {
      role: "assistant",
      content: "",
      tool_calls: [{ id: "c", type: "function", function: { name: "add", arguments: "{}" } }],
    },
    { role: "tool", tool_call_id: "c", content: "5" },
  ]);
  expect(made).toMatchObject({ tools: definitionsOf([TOOL]), logprobs: true, top_logprobs: 8 });
  expect(body([ask], { ...options, tools: [], probabilities: 0 })).not.toHaveProperty("tools");
  const grammar = { kind: "grammar", schema: "", grammar: 'root ::= "a"' } as const;
  expect(body([ask], { ...options, format: grammar })).not.toHaveProperty("tools");
});
