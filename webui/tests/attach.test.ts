import { describe, expect, test } from "vitest";
import { attach, decode, kindOf, NotAttachable, textDraft } from "../src/lib/attach";

const utf8 = (text: string) => new TextEncoder().encode(text);

describe("bytes as text", () => {
  test("UTF-8, with or without a mark, and with any line ends", () => {
    expect(decode(utf8("Größe\r\n羊"))).toBe("Größe\n羊");
    expect(decode(utf8("\ufeffa"))).toBe("a");
  });
  test("UTF-16 where a mark says so", () => {
    expect(decode(new Uint8Array([0xff, 0xfe, 0x61, 0, 0xfc, 0]))).toBe("aü");
    expect(decode(new Uint8Array([0xfe, 0xff, 0, 0x61]))).toBe("a");
  });
  test("what is not UTF-8 is what Windows writes", () => {
    expect(decode(new Uint8Array([0x47, 0x72, 0xf6, 0xdf, 0x65]))).toBe("Größe");
  });
  test("files of programs are none", () => {
    expect(decode(new Uint8Array([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0]))).toBeNull();
  });
});

test.each([
  ["a.pdf", "", "pdf"],
  ["a", "application/pdf", "pdf"],
  ["a.png", "image/png", "image"],
  ["a.svg", "image/svg+xml", "text"],
  ["a.mp3", "audio/mpeg", "audio"],
  ["a.ts", "video/mp2t", "text"],
  ["Makefile", "", "text"],
])("%s of type %j is %s", (name, type, kind) => expect(kindOf({ name, type })).toBe(kind));

describe("attaching", () => {
  test("text is kept as text", async () => {
    const made = await attach(new File(["a\r\nb"], "a.csv", { type: "text/csv" }), {});
    expect(made).toMatchObject({ name: "a.csv", kind: "text", type: "text/plain", size: 4, data: "a\nb" });
  });
  test.each([
    [new File([], "none.txt"), "none.txt is empty"],
    [new File([new Uint8Array([0, 1, 2])], "a.bin"), "neither text nor PDF"],
    [new File(["x"], "a.png", { type: "image/png" }), "reads text only"],
    [new File(["x"], "a.wav", { type: "audio/wav" }), "cannot hear"],
    [new File([new Uint8Array((32 << 20) + 1)], "a.txt"), "up to 32.0 MB"],
  ])("what the model cannot take is refused with the reason", async (file, reason) => {
    await expect(attach(file, {})).rejects.toThrow(NotAttachable);
    await expect(attach(file, {})).rejects.toThrow(reason);
  });
  test("a sound has to be of a kind that models take", async () => {
    await expect(attach(new File(["x"], "a.ogg", { type: "audio/ogg" }), { audio: true })).rejects.toThrow("WAV or MP3");
  });
});

test("a pasted text has the size that it has as a file", () => {
  expect(textDraft("a.txt", "ü")).toMatchObject({ kind: "text", size: 2, data: "ü" });
});
