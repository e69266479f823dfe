import { expect, test } from "vitest";
import { level, perplexity, placeOf, probability, readLogprobs, show, textOf } from "../src/lib/tokens";

const token = (text: string, logprob = -1) => ({ text, logprob, top: [] });

test("tokens are read from the API's form", () => {
  const top_logprobs = [{ token: " a", logprob: -0.5, bytes: [32, 97] }];
  expect(readLogprobs({ content: [{ token: " b", logprob: -1, bytes: [32, 98], top_logprobs }] })).toEqual([
    { text: " b", logprob: -1, top: [{ text: " a", logprob: -0.5 }] },
  ]);
  expect(readLogprobs({ content: null })).toEqual([]);
});

test("a letter that two tokens share is put together again", () => {
  const tokens = readLogprobs({
    content: [
      { token: "", logprob: -1, bytes: [0xc3] },
      { token: "", logprob: -1, bytes: [0xa4] },
      { token: "x", logprob: -1, bytes: [120] },
    ],
  });
  expect(textOf(tokens)).toBe("äx");
  expect(tokens.map(show)).toEqual(["\\xc3", "\\xa4", "x"]);
});

test("white space can be seen", () => {
  expect(show(token(" a\n"))).toBe("␣a↵");
});

test("the surest token has level 0", () => {
  expect([0.95, 0.8, 0.6, 0.4, 0.2, 0.01].map((p) => level(Math.log(p)))).toEqual([0, 1, 2, 3, 4, 5]);
});

test("perplexity is the number of equally likely choices", () => {
  expect(perplexity([token("a", Math.log(0.25)), token("b", Math.log(0.25))])).toBeCloseTo(4);
  expect(perplexity([token("a", -3.4e38)])).toBeLessThan(Infinity);
});

test("probabilities have digits that say something", () => {
  expect([1, 0.5, 0.123, 0.0012, 1e-9].map((p) => probability(Math.log(p)))).toEqual([
    "100%",
    "50.0%",
    "12.3%",
    "0.12%",
    "<0.01%",
  ]);
});

const TOKENS = [token(" two"), token(" three")];

test("the text before a token, also when the begin of the answer was not recorded", () => {
  const place = placeOf("One two three", TOKENS)!;
  expect([place.start, place.before(0), place.before(1)]).toEqual([0, "One", "One two"]);
  expect(placeOf(" two three", TOKENS)!.before(0)).toBe("");
});

test("thoughts are no part of the text", () => {
  const place = placeOf("Two three", [token("Hm."), token("</think>"), token("\n\nTwo"), token(" three"), token("")])!;
  expect([place.start, place.before(2), place.before(3)]).toEqual([2, "", "Two"]);
});

test("a corrected answer has no place among its tokens", () => {
  expect(placeOf("corrected", TOKENS)).toBeNull();
  expect(placeOf("One two three four", TOKENS)).toBeNull();
});

test("of an answer with many tokens the place is found at once", () => {
  const many = Array.from({ length: 100_000 }, () => token("a"));
  expect(placeOf("a".repeat(100_000), many)!.before(3)).toBe("aaa");
});
