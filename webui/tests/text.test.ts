import { describe, expect, test } from "vitest";
import { age, duration, percent, prettyJson } from "../src/lib/format";
import { fileName } from "../src/lib/download";
import { displayMath, inlineMath } from "../src/lib/math";
import { rate, readMetrics } from "../src/lib/metrics";
import { newMessage, NO_FORMAT, titleOf, type Format, type Message } from "../src/lib/model";
import { defaultsOf, PARAMETERS, parse, show } from "../src/lib/parameters";
import { body, objectOf } from "../src/lib/request";

describe("mathematics in text", () => {
  test.each([
    ["$x$", "x", false],
    ["$a_1 + b$ and", "a_1 + b", false],
    ["$$x$$", "x", true],
    ["\\(x\\)", "x", false],
    ["\\[x\\]", "x", true],
    ["$\\$5$", "\\$5", false],
  ])("%s", (text, tex, display) => expect(inlineMath(text, 0)).toMatchObject({ tex, display }));

  test.each(["$5 and $6", "$ x$", "$x $", "$$", "$x", "\\(x", "x"])("%s is none", (text) =>
    expect(inlineMath(text, 0)).toBeNull(),
  );

  test("displays span lines", () => {
    expect(displayMath(["$$", "x", "$$", "y"])).toEqual({ tex: "x", lines: 3 });
    expect(displayMath(["\\[x", "+y\\]"])).toEqual({ tex: "x\n+y", lines: 2 });
    expect(displayMath(["$$x$$ is"])).toBeNull();
    expect(displayMath(["$$", "x"])).toBeNull();
  });

  test.each([
    ["text", 1],
    ["\\[", 201],
  ])("a line %j looks at %i lines at most", (first, n) => {
    const text = [first, ...Array<string>(1000).fill("x")];
    let taken = 0;
    const lines = (function* () {
      for (const line of text) {
        taken++;
        yield line;
      }
    })();
    expect(displayMath(lines)).toBeNull();
    expect(taken).toBe(n);
  });
});

describe("numbers and times", () => {
  test("durations", () => {
    expect([200, 1000, 59_400, 61_000].map(duration)).toEqual(["0.2 s", "1 s", "59 s", "1 min 1 s"]);
  });
  test("ages follow the calendar", () => {
    const now = new Date(2026, 5, 15, 0, 30).getTime();
    const hours = (n: number) => now - n * 3600 * 1000;
    expect([0, 1, 30, 24 * 20, 24 * 50].map((n) => age(hours(n), now))).toEqual(["today", "yesterday", "week", "month", "older"]);
  });
  test("shares, JSON, titles and names of files", () => {
    expect([percent(1, 3), percent(1, 0)]).toEqual(["33%", "0%"]);
    expect([prettyJson('{"a":1}'), prettyJson('{"a"')]).toEqual(['{\n  "a": 1\n}', '{"a"']);
    expect([titleOf(" Why?\nBecause"), titleOf("x".repeat(99)).length]).toEqual(["Why?", 60]);
    expect([fileName("../a b?", "md"), fileName("🙂", "md")]).toEqual(["a-b.md", "conversation.md"]);
  });
});

describe("parameters", () => {
  const named = (name: string) => PARAMETERS.find((parameter) => parameter.name === name)!;
  test("what is typed is limited, and nothing is the server's default", () => {
    expect(parse(named("temperature"), "0.7")).toBe(0.7);
    expect(parse(named("top_p"), "3")).toBe(1);
    expect(parse(named("top_k"), "2.6")).toBe(3);
    expect(parse(named("samplers"), "top_k; temperature")).toEqual(["top_k", "temperature"]);
    expect(parse(named("top_k"), " ")).toBeNull();
    expect(parse(named("top_k"), "many")).toBeNull();
  });
  test("defaults are shown without the noise of 32-bit floats", () => {
    const shown = defaultsOf({ temperature: 0.800000011920929, seed: 4294967295, samplers: ["a", "b"] });
    expect([shown.temperature, shown.seed, shown.samplers, shown.top_k]).toEqual(["0.8", "", "a, b", ""]);
    expect(show(named("min_p"), 0.05)).toBe("0.05");
  });
});

const OPTIONS = {
  system: " ",
  parameters: {},
  custom: {},
  format: NO_FORMAT,
  contents: new Map<string, string>(),
  think: null,
  resume: false,
  tools: [],
  probabilities: 0,
};

test("a request says what the branch says, and leaves out an answer that never came", () => {
  const fields = { conversationId: "c", parentId: null };
  const call = { id: "1", name: "f", arguments: "{}" };
  const messages = [
    newMessage({ ...fields, role: "user", content: "Hi" }),
    newMessage({ ...fields, role: "assistant", status: "failed" }),
    newMessage({ ...fields, role: "assistant", content: "Yo", reasoning: "hm", toolCalls: [call] }),
  ];
  const made = body(messages, { ...OPTIONS, parameters: { top_k: 3 }, think: false, resume: true });
  expect(made.messages).toEqual([
    { role: "user", content: "Hi" },
    {
      role: "assistant",
      content: "Yo",
      reasoning_content: "hm",
      tool_calls: [{ id: "1", type: "function", function: { name: "f", arguments: "{}" } }],
    },
  ]);
  expect(made).toMatchObject({ top_k: 3, stream: true, continue_final_message: true });
  expect(made.chat_template_kwargs).toEqual({ enable_thinking: false });
});

describe("a request", () => {
  const file = { id: "f", name: 'a"b.txt', size: 1 };
  const ask = (fields: Partial<Message>) => newMessage({ conversationId: "c", parentId: null, role: "user", ...fields });

  test("has the files before the question, each as the API has it", () => {
    const contents = new Map([["f", "text\n"], ["i", "AAAA"], ["s", "BBBB"]]);
    const attachments: Message["attachments"] = [
      { ...file, kind: "text", type: "text/plain" },
      { ...file, id: "i", kind: "image", type: "image/png" },
      { ...file, id: "s", kind: "audio", type: "audio/mpeg" },
    ];
    const made = body([ask({ content: "What?", attachments })], { ...OPTIONS, contents });
    expect((made.messages as { content: unknown }[])[0]!.content).toEqual([
      { type: "text", text: "<file name=\"a'b.txt\">\ntext\n</file>\n\n" },
      { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } },
      { type: "input_audio", input_audio: { data: "BBBB", format: "mp3" } },
      { type: "text", text: "What?" },
    ]);
  });
  test("asks for the form of the answer", () => {
    const made = (format: Partial<Format>) => body([], { ...OPTIONS, format: { ...NO_FORMAT, ...format } });
    expect(made({})).not.toHaveProperty("response_format");
    expect(made({ kind: "json" }).response_format).toEqual({ type: "json_object" });
    expect(made({ kind: "schema", schema: '{"type":"object"}' }).response_format).toMatchObject({
      type: "json_schema",
      json_schema: { schema: { type: "object" } },
    });
    expect(made({ kind: "grammar", grammar: "root ::= x" }).grammar).toBe("root ::= x");
  });
  test("has the reader's own fields, which do not break the page", () => {
    const custom = objectOf('{"cache_prompt": false, "stream": false, "chat_template_kwargs": {"a": 1}}');
    const made = body([], { ...OPTIONS, custom, think: true });
    expect(made).toMatchObject({ cache_prompt: false, stream: true });
    expect(made.chat_template_kwargs).toEqual({ enable_thinking: true, a: 1 });
    expect([objectOf("[1]"), objectOf("{"), objectOf("")]).toEqual([{}, {}, {}]);
  });
});

test("metrics", () => {
  const read = readMetrics('# HELP a b\na:b 1\nc{x="y z"} 2.5e3\n\nbad');
  expect([...read]).toEqual([
    ["a:b", 1],
    ['c{x="y z"}', 2500],
  ]);
  expect([rate(10, 30, 2), rate(undefined, 30, 2), rate(30, 10, 2), rate(1, 2, 0)]).toEqual([10, 0, 0, 0]);
});
