import { describe, expect, test } from "vitest";
import { EventParser } from "../src/lib/sse";

describe("server-sent events", () => {
  test("events come out whole, however the text is cut", () => {
    const text = 'data: {"a":1}\n\n: ping\n\ndata: two\r\ndata: lines\r\n\r\nevent: error\ndata: bad\n\ndata: [DONE]\n\n';
    const whole = new EventParser().push(text);
    expect(whole.map(({ data }) => data)).toEqual(['{"a":1}', "two\nlines", "bad", "[DONE]"]);
    expect(whole[2]!.type).toBe("error");
    for (let size = 1; size < text.length; size++) {
      const parser = new EventParser();
      const found = [];
      for (let i = 0; i < text.length; i += size) found.push(...parser.push(text.slice(i, i + size)));
      expect(found).toEqual(whole);
    }
  });

  test("llama-server's own form of errors is one", () => {
    expect(new EventParser().push('error: {"message":"no"}\n\n')).toEqual([{ type: "error", data: '{"message":"no"}' }]);
  });
});
