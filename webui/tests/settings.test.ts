import { describe, expect, test } from "vitest";
import { readGiven } from "../src/lib/given";
import { PARAMETERS, parse, readChosen, readDocumentation, show } from "../src/lib/parameters";
import { isSame, presetsFromJson, presetsToJson, withPresets, type Preset } from "../src/lib/presets";

const named = (name: string) => PARAMETERS.find((parameter) => parameter.name === name)!;
const preset = (name: string, fields: Partial<Preset> = {}): Preset => ({
  name,
  system: "",
  parameters: {},
  custom: "",
  ...fields,
});

describe("what is typed for parameters of other kinds", () => {
  test("texts", () => {
    expect(parse(named("stop"), "END")).toEqual(["END"]);
    expect(parse(named("stop"), '["\\n\\n", "END"]')).toEqual(["\n\n", "END"]);
    expect(show(named("stop"), ["\n", "END"])).toBe('["\\n","END"]');
  });
  test("switches", () => {
    expect([parse(named("ignore_eos"), "true"), parse(named("ignore_eos"), "false")]).toEqual([true, false]);
    expect([show(named("ignore_eos"), false), show(named("ignore_eos"), undefined)]).toEqual(["false", ""]);
  });
  test("JSON", () => {
    expect(parse(named("logit_bias"), '{"17": -1}')).toEqual({ 17: -1 });
    expect([parse(named("logit_bias"), "{"), parse(named("logit_bias"), "7")]).toEqual([null, null]);
  });
});

describe("what the server's owner gives", () => {
  test("has the names of llama-server's page", () => {
    const given = readGiven({
      theme: "dark",
      systemMessage: "Be brief.",
      sendOnEnter: false,
      pasteLongTextToFileLen: "100",
      customJson: '{"a":1}',
      temperature: 0.4,
      typ_p: "0.9",
      samplers: "top_k;temperature",
      renderUserContentAsMarkdown: true,
    });
    expect(given).toEqual({
      theme: "dark",
      system: "Be brief.",
      enterSends: false,
      pasteLength: 100,
      custom: '{"a":1}',
      parameters: { temperature: 0.4, typical_p: 0.9, samplers: ["top_k", "temperature"] },
    });
  });
  test("counts for nothing where it is of a wrong kind", () => {
    const wrong = { theme: "pink", systemMessage: 1, sendOnEnter: "yes", pasteLongTextToFileLen: "many", top_k: [], seed: {} };
    expect(readGiven(wrong)).toEqual({ parameters: {} });
  });
  test("may hold presets", () => {
    expect(readGiven({ presets: [{ name: "A", system: "s" }, { name: 1 }, null] }).presets).toEqual([
      preset("A", { system: "s" }),
    ]);
  });
});

describe("presets", () => {
  const all = [preset("B", { parameters: { top_k: 3, temperature: 1 } }), preset("C", { system: "s", custom: "{}" })];
  test("come back from a file", () => expect(presetsFromJson(presetsToJson(all))).toEqual(all));
  test.each(["", "{}", "[]", "null", '{"format":"llamahttp-presets","presets":7}'])("%j holds none", (text) =>
    expect(presetsFromJson(text)).toBeNull(),
  );
  test("of one name the later stays, and they are in order", () => {
    const merged = withPresets(all, [preset("A"), preset("C", { system: "new" })]);
    expect(merged.map(({ name, system }) => [name, system])).toEqual([["A", ""], ["B", ""], ["C", "new"]]);
  });
  test("are the same whatever the order of their parameters", () => {
    expect(isSame(all[0]!, preset("X", { parameters: { temperature: 1, top_k: 3 } }))).toBe(true);
    expect(isSame(all[0]!, preset("X", { parameters: { temperature: 1 } }))).toBe(false);
  });
});

test("parameters of a file are read one by one", () => {
  expect(readChosen({ temperature: 0.5, top_k: "7", none: 1, stop: ["a"], ignore_eos: 1 })).toEqual({
    temperature: 0.5,
    top_k: 7,
    stop: ["a"],
  });
  expect(readChosen(null)).toEqual({});
});

test("what parameters mean stands in the server's document, under another name too", () => {
  const properties = {
    top_k: { description: "Choose among `n`.", default: 40 },
    n_predict: { description: "Most tokens.", default: -1 },
    max_tokens: { description: "Another name of `n_predict`." },
  };
  const paths = { "/x/v1/chat/completions": { post: { requestBody: { content: { "application/json": { schema: { properties } } } } } } };
  const read = readDocumentation({ paths });
  expect(read.top_k).toEqual({ description: "Choose among n.", default: "40" });
  expect(read.max_tokens).toEqual({ description: "Most tokens.", default: "-1" });
  expect(readDocumentation({}).top_k).toEqual({ description: "", default: "" });
});
