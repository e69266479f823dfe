/** Tokens with their probabilities: read from an answer's chunks, put together, and judged. */

import type { LikelyToken, Token } from "./model";

/** As the API shows a token. */
export interface ApiToken {
  token: string;
  logprob: number;
  bytes?: number[] | null;
}

export interface ApiLogprobs {
  content?: (ApiToken & { top_logprobs?: ApiToken[] })[] | null;
}

const utf8 = new TextEncoder();

export function readLogprobs(logprobs: ApiLogprobs): Token[] {
  return (logprobs.content ?? []).map((token) => ({ ...likely(token), top: (token.top_logprobs ?? []).map(likely) }));
}

function likely({ token, logprob, bytes }: ApiToken): LikelyToken {
  const isWhole = !bytes || isSame(utf8.encode(token), bytes);
  return isWhole ? { text: token, logprob } : { text: token, logprob, bytes };
}

function isSame(a: Uint8Array, b: readonly number[]): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** The text that tokens make together. */
export function textOf(tokens: readonly LikelyToken[]): string {
  return new TextDecoder().decode(Uint8Array.from(tokens.flatMap(bytesOf)));
}

function bytesOf({ text, bytes }: LikelyToken): number[] {
  return bytes ?? [...utf8.encode(text)];
}

/** A token for readers: bytes that are no text in hexadecimal, white space by signs. */
export function show({ text, bytes }: LikelyToken): string {
  if (bytes) return bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  return text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "␣");
}

export const LEVELS = [0.9, 0.7, 0.5, 0.3, 0.1] as const;

/** How sure the model was: 0 for the surest, up to `LEVELS.length`. */
export function level(logprob: number): number {
  const at = LEVELS.findIndex((bound) => Math.exp(logprob) >= bound);
  return at < 0 ? LEVELS.length : at;
}

/** The exponential of the mean surprise: between how many tokens the model chose, so to speak. */
export function perplexity(tokens: readonly LikelyToken[]): number {
  const sum = tokens.reduce((total, { logprob }) => total + Math.max(logprob, -100), 0);
  return tokens.length ? Math.exp(-sum / tokens.length) : NaN;
}

/** A probability in percent, with more digits where it is small. */
export function probability(logprob: number): string {
  const percent = 100 * Math.exp(logprob);
  if (percent >= 99.95) return "100%";
  if (percent < 0.01) return "<0.01%";
  return `${percent.toFixed(percent < 1 ? 2 : 1)}%`;
}

/** Where the text of an answer stands among its tokens, which begin with the model's thoughts. */
export interface Place {
  /** The first token of it. */
  start: number;
  /** The text before token `index`, which is `start` or a later one. */
  before(index: number): string;
}

/** null where the tokens do not end as `content` does: it has been corrected, or the end was not recorded. */
export function placeOf(content: string, tokens: readonly Token[]): Place | null {
  const said = utf8.encode(content);
  const written = tokens.map(bytesOf);
  let end = 0;
  const ends = written.map(({ length }) => (end += length));
  const tail = written.flat().slice(-said.length);
  if (!isSame(said.subarray(said.length - tail.length), tail)) return null;
  // tokens   [0 ...... thoughts ...... offset ................ all)
  // content                           [0 ................. length)      offset < 0: the begin was not recorded
  const offset = end - said.length;
  const start = ends.findIndex((position) => position > offset);
  const decode = (n: number) => new TextDecoder().decode(said.subarray(0, Math.max(0, n)));
  return { start, before: (index) => decode((ends[index - 1] ?? 0) - offset) };
}
