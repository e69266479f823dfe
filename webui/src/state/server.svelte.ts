/** The server: what it is, whether it answers, and its routes. */

import type { Chunk } from "../lib/answer";
import { defaultsOf } from "../lib/parameters";
import { readEvents } from "../lib/sse";
import { strings } from "../strings";
import { settings } from "./settings.svelte";

export class ServerError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export interface Slot {
  id: number;
  n_ctx: number;
  is_processing: boolean;
  state?: string;
  n_prompt_tokens_processed?: number;
  n_prompt_tokens_cache?: number;
  next_token?: { n_decoded?: number }[];
}

interface Props {
  default_generation_settings?: { params?: Record<string, unknown>; n_ctx?: number };
  model_alias?: string;
  model_path?: string;
  chat_template?: string;
  endpoint_slots?: boolean;
  endpoint_metrics?: boolean;
  build_info?: string;
  total_slots?: number;
  ui_settings?: Record<string, unknown>;
}

type Health = "connecting" | "loading" | "ready" | "gone" | "locked" | "failed";

const RETRY_MS = 1000;

class Server {
  health = $state<Health>("connecting");
  reason = $state("");
  props = $state.raw<Props>({});
  readonly model = $derived(this.props.model_alias || this.props.model_path?.split(/[\\/]/).pop() || "");
  readonly canThink = $derived(this.props.chat_template?.includes("enable_thinking") ?? false);
  readonly defaults = $derived(defaultsOf(this.props.default_generation_settings?.params ?? {}));
  #retry: ReturnType<typeof setTimeout> | undefined;

  async request(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (settings.apiKey) headers.set("Authorization", `Bearer ${settings.apiKey}`);
    const response = await fetch(path, { ...init, headers });
    if (!response.ok) throw new ServerError(response.status, await reasonOf(response));
    return response;
  }

  /** Ask for the model and its defaults, again and again until there is an answer. */
  async connect(): Promise<void> {
    clearTimeout(this.#retry);
    try {
      await this.request("health");
      this.props = (await (await this.request("props")).json()) as Props;
      this.health = "ready";
      this.reason = "";
    } catch (error) {
      this.#lost(error);
    }
  }

  /** A request has failed: find out what with. */
  #lost(error: unknown): void {
    const status = error instanceof ServerError ? error.status : 0;
    this.reason = error instanceof ServerError ? error.message : "";
    if (status === 401 || status === 403) this.health = "locked";
    else if (status === 503) this.health = "loading";
    else this.health = status ? "failed" : "gone";
    if (status !== 401) this.#retry = setTimeout(() => this.connect(), RETRY_MS);
  }

  /** Look whether it is the server that a failed request failed for. */
  check(error: unknown): void {
    if (!(error instanceof ServerError) || error.status === 401 || error.status === 503) void this.connect();
  }

  /** The chunks of an answer; `name` is what the stream can be resumed by. */
  complete(name: string, body: unknown, signal: AbortSignal): AsyncGenerator<Chunk> {
    return this.#chunks("v1/chat/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Conversation-Id": name },
      body: JSON.stringify(body),
      signal,
    });
  }

  /** The chunks of a stream that goes on at the server, from the first one on. */
  resume(name: string, signal: AbortSignal): AsyncGenerator<Chunk> {
    return this.#chunks(`v1/stream?conv_id=${encodeURIComponent(name)}&from=0`, { signal });
  }

  async cancel(name: string): Promise<void> {
    await this.request(`v1/stream?conv_id=${encodeURIComponent(name)}`, { method: "DELETE", keepalive: true });
  }

  async *#chunks(path: string, init: RequestInit): AsyncGenerator<Chunk> {
    const { body } = await this.request(path, init);
    if (!body) return;
    let isWhole = false;
    for await (const { type, data } of readEvents(body)) {
      if (data === "[DONE]") {
        isWhole = true;
        continue;
      }
      const event = JSON.parse(data) as Chunk & { error?: { code?: number; message?: string } };
      const error = event.error ?? (type === "error" ? (event as { code?: number; message?: string }) : null);
      if (error) throw new ServerError(error.code ?? 500, error.message ?? data);
      yield event;
    }
    if (!isWhole) throw new TypeError(strings.connectionLost);
  }

  async slots(): Promise<Slot[]> {
    return (await (await this.request("slots")).json()) as Slot[];
  }

  async metrics(): Promise<string> {
    return (await this.request("metrics")).text();
  }
}

async function reasonOf(response: Response): Promise<string> {
  const text = await response.text();
  try {
    return (JSON.parse(text) as { error: { message: string } }).error.message;
  } catch {
    return text || `${response.status} ${response.statusText}`;
  }
}

export const server = new Server();
