/** The server: what it is, whether it answers, and its routes. */

import type { Chunk } from "../lib/answer";
import type { Modalities } from "../lib/attach";
import { follow, type Source } from "../lib/line";
import { defaultsOf, readDocumentation, type Documented } from "../lib/parameters";
import type { Slot } from "../lib/slots";
import type { Piece } from "../lib/pieces";
import type { ServerTool } from "../lib/tools";
import { settings } from "./settings.svelte";

export class ServerError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The server has no such stream: it was restarted, or never heard of it. */
export class Forgotten extends ServerError {}

interface Props {
  default_generation_settings?: { params?: Record<string, unknown>; n_ctx?: number };
  model_alias?: string;
  model_path?: string;
  chat_template?: string;
  chat_template_caps?: Record<string, boolean>;
  bos_token?: string;
  eos_token?: string;
  endpoint_slots?: boolean;
  endpoint_metrics?: boolean;
  build_info?: string;
  total_slots?: number;
  ui_settings?: Record<string, unknown>;
  modalities?: Modalities;
}

type Health = "connecting" | "loading" | "ready" | "gone" | "locked" | "failed";

const RETRY_MS = 1000;
/** How long a reader waits for what is only an advice. */
const PATIENCE_MS = 4000;
/** What a proxy says while its server is away, and a server that loads its model. */
const AWAY = [502, 503, 504];

class Server {
  health = $state<Health>("connecting");
  reason = $state("");
  props = $state.raw<Props>({});
  readonly model = $derived(this.props.model_alias || this.props.model_path?.split(/[\\/]/).pop() || "");
  readonly canThink = $derived(this.props.chat_template?.includes("enable_thinking") ?? false);
  readonly modalities = $derived(this.props.modalities ?? {});
  readonly defaults = $derived(
    defaultsOf({ ...this.props.default_generation_settings?.params, ...settings.given }),
  );
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** How often it was asked; only what the last one finds counts, which may have another key. */
  #nAsked = 0;
  /** Tells of `ready`, when the server answers again. */
  readonly #news = new EventTarget();

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
    const asked = ++this.#nAsked;
    try {
      await this.request("health");
      const props = (await (await this.request("props")).json()) as Props;
      if (asked !== this.#nAsked) return;
      this.props = props;
      settings.take(props.ui_settings ?? {});
      this.health = "ready";
      this.reason = "";
      this.#news.dispatchEvent(new Event("ready"));
    } catch (error) {
      if (asked === this.#nAsked) this.#lost(error);
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

  /** The chunks of an answer; `name` is what the stream can be resumed by. `report` hears how often it was tried in
   * vain to come back to it. */
  complete(name: string, body: unknown, signal: AbortSignal, report: Source["report"]): AsyncGenerator<Chunk> {
    const ask = () =>
      this.request("v1/chat/completions", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Conversation-Id": name },
        body: JSON.stringify(body),
        signal,
      });
    return this.#chunks(this.#source(name, signal, report, ask), signal);
  }

  /** The chunks of a stream that goes on at the server, from the first one on. */
  resume(name: string, signal: AbortSignal, report: Source["report"]): AsyncGenerator<Chunk> {
    return this.#chunks(this.#source(name, signal, report), signal);
  }

  async cancel(name: string): Promise<void> {
    await this.request(`v1/stream?conv_id=${encodeURIComponent(name)}`, { method: "DELETE", keepalive: true });
  }

  #source(name: string, signal: AbortSignal, report: Source["report"], ask?: () => Promise<Response>): Source {
    let isAsked = !ask;
    return {
      open: async (offset) => {
        const response = isAsked ? await this.#again(name, offset, signal) : await ask!();
        isAsked = true;
        return response.body!;
      },
      isLost: (error) => {
        const isAway = isAsked && error instanceof ServerError && AWAY.includes(error.status);
        if (!isAway && !(error instanceof TypeError)) return false;
        isAsked = true; // the question may have arrived, though no answer has: the stream will tell
        return true;
      },
      report: (attempts) => {
        if (attempts === 1) void this.connect();
        report(attempts);
      },
      wait: (ms) => this.#pause(ms, signal),
    };
  }

  async *#chunks(source: Source, signal: AbortSignal): AsyncGenerator<Chunk> {
    for await (const { type, data } of follow(source, signal)) {
      const event = JSON.parse(data) as Chunk & { error?: { code?: number; message?: string } };
      const error = event.error ?? (type === "error" ? (event as { code?: number; message?: string }) : null);
      if (error) throw new ServerError(error.code ?? 500, error.message ?? data);
      yield event;
    }
  }

  async #again(name: string, offset: number, signal: AbortSignal): Promise<Response> {
    try {
      return await this.request(`v1/stream?conv_id=${encodeURIComponent(name)}&from=${offset}`, { signal });
    } catch (error) {
      throw error instanceof ServerError && error.status === 404 ? new Forgotten(404, error.message) : error;
    }
  }

  /** Let `ms` pass; less where the server answers again, or the network is back. */
  #pause(ms: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    return new Promise<void>((resolve) => {
      const end = () => resolve();
      const once = { once: true, signal: over.signal };
      setTimeout(end, ms);
      this.#news.addEventListener("ready", end, once);
      addEventListener("online", end, once);
      signal.addEventListener("abort", end, once);
    }).finally(() => over.abort());
  }

  /** Why the server would not answer in this form; empty if it would, or has no time to tell. Nothing is generated. */
  async faultOf(format: Record<string, unknown>): Promise<string> {
    const messages = [{ role: "user", content: "." }];
    const body = JSON.stringify({ messages, max_tokens: 0, ...format });
    const headers = { "Content-Type": "application/json" };
    const signal = AbortSignal.timeout(PATIENCE_MS);
    try {
      await this.request("v1/chat/completions", { method: "POST", headers, body, signal });
    } catch (error) {
      if (error instanceof ServerError && error.status === 400) return error.message;
    }
    return "";
  }

  /** What parameters mean, by their names. */
  async documentation(): Promise<Record<string, Documented>> {
    const document = (await (await this.request("openapi.json")).json()) as Parameters<typeof readDocumentation>[0];
    return readDocumentation(document);
  }

  async #post<T>(path: string, body: unknown, signal: AbortSignal | null = null): Promise<T> {
    const headers = { "Content-Type": "application/json" };
    const response = await this.request(path, { method: "POST", headers, body: JSON.stringify(body), signal });
    return (await response.json()) as T;
  }

  async tools(): Promise<ServerTool[]> {
    return (await (await this.request("tools")).json()) as ServerTool[];
  }

  async callTool(tool: string, params: unknown, signal: AbortSignal): Promise<unknown> {
    return this.#post("tools", { tool, params }, signal);
  }

  async tokenize(content: string, options: { add_special: boolean; parse_special: boolean }): Promise<Piece[]> {
    const { tokens } = await this.#post<{ tokens: Piece[] }>("tokenize", { content, with_pieces: true, ...options });
    return tokens;
  }

  async detokenize(tokens: readonly number[]): Promise<string> {
    return (await this.#post<{ content: string }>("detokenize", { tokens })).content;
  }

  /** The prompt that a chat becomes. */
  async applyTemplate(body: unknown): Promise<string> {
    return (await this.#post<{ prompt: string }>("apply-template", body)).prompt;
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
