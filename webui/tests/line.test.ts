import { afterEach, expect, test, vi } from "vitest";
import { backOff, follow, Incomplete, type Source } from "../src/lib/line";

const STREAM = new TextEncoder().encode('data: {"a":"ä"}\n\ndata: {"b":2}\n\n: ping\n\ndata: [DONE]\n\n');

class Lost extends Error {}

/** A server that has the stream, and whose connections break after so many bytes; one for each attempt. */
class Broken implements Source {
  offsets: number[] = [];
  reports: number[] = [];
  waits: number[] = [];

  constructor(
    readonly lengths: number[],
    readonly end: "error" | "close" = "error",
    readonly stream = STREAM,
  ) {}

  async open(offset: number): Promise<ReadableStream<Uint8Array>> {
    this.offsets.push(offset);
    const length = this.lengths.shift();
    if (length === undefined) throw new RangeError("the server has no more connections");
    if (length < 0) throw new Lost("refused");
    const pieces = [...this.stream.subarray(offset, offset + length)].map((byte) => Uint8Array.of(byte));
    const isWhole = offset + length >= this.stream.length;
    return new ReadableStream({
      pull: (controller) => {
        const piece = pieces.shift();
        if (piece) controller.enqueue(piece);
        else if (isWhole || this.end === "close") controller.close();
        else controller.error(new Lost("broken"));
      },
    });
  }

  isLost = (error: unknown) => error instanceof Lost;
  report = (attempts: number) => void this.reports.push(attempts);
  wait = async (ms: number): Promise<void> => {
    this.waits.push(ms);
  };
}

async function read(source: Source, signal = new AbortController().signal): Promise<string[]> {
  const events = [];
  for await (const { data } of follow(source, signal)) events.push(data);
  return events;
}

const ALL = ['{"a":"ä"}', '{"b":2}'];

test("a stream is read to its end in one connection", async () => {
  const source = new Broken([1000]);
  expect(await read(source)).toEqual(ALL);
  expect(source).toMatchObject({ offsets: [0], reports: [] });
});

test.each(["error", "close"] as const)("wherever a connection breaks (%s), nothing is lost or doubled", async (end) => {
  for (let at = 1; at < STREAM.length; at++) {
    const source = new Broken([at, 1000], end);
    expect(await read(source)).toEqual(ALL);
    expect(source).toMatchObject({ offsets: [0, at], reports: [1, 0] });
  }
});

test("attempts that fail wait longer each time, and begin anew once bytes come", async () => {
  const source = new Broken([3, -1, -1, 2, -1, 1000]);
  expect(await read(source)).toEqual(ALL);
  expect(source.offsets).toEqual([0, 3, 3, 3, 5, 5]);
  expect(source.reports).toEqual([1, 2, 3, 0, 1, 2, 0]);
  expect(source.waits).toEqual([500, 1000, 2000, 500, 1000]);
  expect(backOff(20)).toBe(8000);
});

test("what is no fault of the connection is thrown", async () => {
  await expect(read(new Broken([4]))).rejects.toThrow("no more connections");
});

test("a stream that ends without its last event is incomplete", async () => {
  const source = new Broken([1000, 1000], "close", STREAM.subarray(0, 20));
  await expect(read(source)).rejects.toThrow(Incomplete);
  expect(source.offsets).toEqual([0, 20]);
});

test("whoever stops while it waits for a connection is heard", async () => {
  const abort = new AbortController();
  const source = new Broken([3, -1]);
  source.wait = async () => abort.abort();
  await expect(read(source, abort.signal)).rejects.toThrow("abort");
});

afterEach(() => {
  vi.useRealTimers();
});

test("a connection that is silent for long is given up", async () => {
  vi.useFakeTimers();
  const source = new Broken([3, 1000]);
  const open = source.open.bind(source);
  const whole = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(STREAM.slice(0, 3)) });
  source.open = async (offset) => (offset === 0 && source.offsets.push(0) ? whole : open(offset));
  source.isLost = (error) => error instanceof TypeError;
  source.lengths.shift();
  const events = read(source);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(source.reports).toEqual([]);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(await events).toEqual(ALL);
  expect(source).toMatchObject({ offsets: [0, 3], reports: [1, 0] });
});
