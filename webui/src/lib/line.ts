/** A stream of events that outlives its connections: what is missing is asked for again, from the byte on that is
 * missing. */

import { EventParser, type ServerEvent } from "./sse";

/** Where the stream comes from. */
export interface Source {
  /** The stream's bytes from `offset` on. */
  open(offset: number, signal: AbortSignal): Promise<ReadableStream<Uint8Array>>;
  /** Whether a failure is one of the connection, so that trying again may help. */
  isLost(error: unknown): boolean;
  /** How many attempts have failed since the last byte came; 0 once it comes again. */
  report(attempts: number): void;
  /** Let some time pass; returns sooner when there is reason to hope, or `signal` says so. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
/** What ends a stream, in all dialects of chats. */
const END = "[DONE]";

export function backOff(attempts: number): number {
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempts - 1));
}

/** The stream has ended without its last event. */
export class Incomplete extends Error {}

/** The events until the last one, over as many connections as it takes. Throws what no new connection helps against,
 * and Incomplete. */
export async function* follow(source: Source, signal: AbortSignal): AsyncGenerator<ServerEvent> {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  let isWhole = false;
  for (let attempts = 0, offset = 0; ; ) {
    const before = offset;
    try {
      for await (const bytes of chunks(await source.open(offset, signal), signal)) {
        if (attempts) source.report((attempts = 0));
        offset += bytes.length;
        for (const event of parser.push(decoder.decode(bytes, { stream: true }))) {
          if (event.data === END) isWhole = true;
          else yield event;
        }
      }
      if (!isWhole && offset === before) throw new Incomplete();
    } catch (error) {
      if (isWhole) return;
      if (signal.aborted || !source.isLost(error)) throw error;
    }
    if (isWhole) return;
    source.report(++attempts);
    await source.wait(backOff(attempts), signal);
    signal.throwIfAborted();
  }
}

/** Nothing for so long, not even the server's sign of life every half minute: the connection is dead. */
const SILENCE_MS = 75_000;

class Silence extends TypeError {}

async function* chunks(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  let watch: ReturnType<typeof setTimeout> | undefined;
  try {
    for (;;) {
      const silence = new Promise<never>((_, reject) => {
        watch = setTimeout(() => reject(new Silence("the connection is silent")), SILENCE_MS);
      });
      const { value, done } = await Promise.race([reader.read(), silence]);
      clearTimeout(watch);
      signal.throwIfAborted();
      if (done) return;
      yield value;
    }
  } finally {
    clearTimeout(watch);
    reader.cancel().catch(() => undefined);
  }
}
