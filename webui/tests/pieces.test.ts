import { expect, test } from "vitest";
import { bytesOf, mayBeSpecial, readIds, showPiece } from "../src/lib/pieces";

test("ids are read however they are separated", () => {
  expect(readIds("1, 2\n3")).toEqual([1, 2, 3]);
  expect(readIds("[4,5]")).toEqual([4, 5]);
  expect(readIds("")).toEqual([]);
  expect(readIds("1 x")).toBeNull();
  expect(readIds("-1")).toBeNull();
  expect(readIds("1.5")).toBeNull();
});

test("a token can be seen, and has its bytes", () => {
  expect(showPiece({ id: 1, piece: " a\n" })).toBe(" a↵\n");
  expect(showPiece({ id: 1, piece: [0xf0, 0x9f] })).toBe("\\xf0\\x9f");
  expect(bytesOf({ id: 1, piece: "ä" })).toEqual([0xc3, 0xa4]);
  expect(bytesOf({ id: 1, piece: [0xf0] })).toEqual([0xf0]);
});

test("only words with marks around them may be special", () => {
  expect(["<|im_start|>", "[INST]", "</s>", "the", " <", [1]].map((piece, id) => mayBeSpecial({ id, piece }))).toEqual([
    true,
    true,
    true,
    false,
    false,
    false,
  ]);
});
