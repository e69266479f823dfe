/** An answer, put together from the chunks of `/v1/chat/completions`. */

import type { Cost, Message, ToolCall } from "./model";
import { readLogprobs, type ApiLogprobs } from "./tokens";

export interface Timings {
  cache_n?: number;
  prompt_n?: number;
  prompt_per_second?: number;
  predicted_n?: number;
  predicted_per_second?: number;
}

interface CallDelta {
  index?: number;
  id?: string;
  function?: { name?: string; arguments?: string };
}

export interface Chunk {
  choices?: {
    delta?: { content?: string | null; reasoning_content?: string | null; tool_calls?: CallDelta[] };
    finish_reason?: string | null;
    logprobs?: ApiLogprobs | null;
  }[];
  model?: string;
  timings?: Timings;
  prompt_progress?: { total: number; cache: number; processed: number };
}

/** How much of the prompt is computed, in tokens; `cached` of them did not have to be. */
export interface Progress {
  total: number;
  cached: number;
  processed: number;
}

export type Written = Pick<Message, "content" | "reasoning" | "reasoningMs" | "toolCalls" | "tokens" | "cost" | "finish">;

export class Answer {
  written: Written;
  progress: Progress | null = null;
  #thinkingSince: number | null = null;

  /** `start` is what an answer that is continued begins with. */
  constructor(start: Partial<Written> = {}) {
    this.written = {
      content: "",
      reasoning: "",
      reasoningMs: 0,
      toolCalls: [],
      cost: null,
      finish: "",
      ...start,
    };
  }

  /** Add a chunk that came at `now`, in milliseconds of any clock. */
  add(chunk: Chunk, now: number): void {
    const { prompt_progress: progress, timings } = chunk;
    if (progress) {
      this.progress = { total: progress.total, cached: progress.cache, processed: progress.processed };
    }
    if (timings) this.written.cost = costOf(timings);
    const choice = chunk.choices?.[0];
    if (choice?.finish_reason) this.written.finish = choice.finish_reason;
    if (choice?.logprobs) this.written.tokens = [...(this.written.tokens ?? []), ...readLogprobs(choice.logprobs)];
    const { content, reasoning_content: thought, tool_calls: calls } = choice?.delta ?? {};
    if (thought) this.#think(thought, now);
    if (content) this.written.content += content;
    if (calls?.length) this.written.toolCalls = calls.reduce(merge, this.written.toolCalls);
    if (content || thought || calls?.length) this.progress = null;
  }

  #think(thought: string, now: number): void {
    this.#thinkingSince ??= now - this.written.reasoningMs;
    this.written.reasoning += thought;
    this.written.reasoningMs = now - this.#thinkingSince;
  }
}

function merge(calls: ToolCall[], delta: CallDelta): ToolCall[] {
  const index = delta.index ?? calls.length;
  const known = calls[index] ?? { id: "", name: "", arguments: "" };
  const call = {
    id: delta.id ?? known.id,
    name: known.name + (delta.function?.name ?? ""),
    arguments: known.arguments + (delta.function?.arguments ?? ""),
  };
  return Object.assign([...calls], { [index]: call });
}

function costOf(timings: Timings): Cost {
  const cached = timings.cache_n ?? 0;
  return {
    promptTokens: (timings.prompt_n ?? 0) + cached,
    cachedTokens: cached,
    tokens: timings.predicted_n ?? 0,
    speed: timings.predicted_per_second ?? 0,
    promptSpeed: timings.prompt_per_second ?? 0,
  };
}
