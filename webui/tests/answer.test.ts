import { expect, test } from "vitest";
import { Answer } from "../src/lib/answer";

const delta = (delta: object) => ({ choices: [{ delta }] });

test("an answer is put together from its chunks", () => {
  const answer = new Answer();
  answer.add({ prompt_progress: { total: 100, cache: 40, processed: 60 } }, 0);
  expect(answer.progress).toEqual({ total: 100, cached: 40, processed: 60 });
  answer.add(delta({ reasoning_content: "I " }), 1000);
  answer.add(delta({ reasoning_content: "think" }), 3500);
  answer.add(delta({ content: "Hel" }), 4000);
  answer.add(delta({ content: "lo" }), 9000);
  answer.add({ choices: [{ delta: {}, finish_reason: "stop" }], timings: { cache_n: 40, prompt_n: 60, predicted_n: 5 } }, 9000);
  expect(answer.progress).toBeNull();
  expect(answer.written).toMatchObject({ content: "Hello", reasoning: "I think", reasoningMs: 2500, finish: "stop" });
  expect(answer.written.cost).toMatchObject({ promptTokens: 100, cachedTokens: 40, tokens: 5 });
});

test("calls of tools grow by their index", () => {
  const answer = new Answer();
  answer.add(delta({ tool_calls: [{ index: 0, id: "a", function: { name: "f", arguments: "{" } }] }), 0);
  answer.add(delta({ tool_calls: [{ index: 1, id: "b", function: { name: "g", arguments: "" } }] }), 0);
  answer.add(delta({ tool_calls: [{ index: 0, function: { arguments: "}" } }] }), 0);
  expect(answer.written.toolCalls).toEqual([
    { id: "a", name: "f", arguments: "{}" },
    { id: "b", name: "g", arguments: "" },
  ]);
});

test("an answer that is continued keeps what it has", () => {
  const answer = new Answer({ content: "One, ", reasoning: "x", reasoningMs: 700 });
  answer.add(delta({ content: "two" }), 50);
  expect(answer.written).toMatchObject({ content: "One, two", reasoning: "x", reasoningMs: 700 });
});
