/** What is stored: conversations and their messages. */

export type Role = "user" | "assistant";

/** `writing` is also what a message is left as when its page goes away; it can be resumed then. */
export type Status = "done" | "writing" | "stopped" | "failed";

export interface ToolCall {
  id: string;
  name: string;
  /** JSON, as the model wrote it; while it is being written a beginning of it. */
  arguments: string;
}

/** What the answer cost, from the server's `timings`; counts of tokens, speeds in tokens/s. */
export interface Cost {
  promptTokens: number;
  cachedTokens: number;
  tokens: number;
  speed: number;
  promptSpeed: number;
}

export interface Beginning {
  content: string;
  reasoning: string;
  reasoningMs: number;
  toolCalls: ToolCall[];
}

export interface Message {
  id: string;
  conversationId: string;
  parentId: string | null;
  role: Role;
  content: string;
  /** The model's thoughts before its answer, and how long it thought. */
  reasoning: string;
  reasoningMs: number;
  toolCalls: ToolCall[];
  /** Name of the model that wrote it. */
  model: string;
  cost: Cost | null;
  status: Status;
  error: string;
  /** Why the answer ended, in the API's words: `length` means that it was cut off. */
  finish: string;
  /** What the server calls the stream that it is written by, and what it had before that. */
  stream: string;
  begin: Beginning | null;
  /** Milliseconds of the Unix epoch, as all times here. */
  createdAt: number;
}

export interface Conversation {
  id: string;
  title: string;
  system: string;
  /** End of the branch that is shown. */
  leaf: string | null;
  createdAt: number;
  updatedAt: number;
}

export function newId(): string {
  // randomUUID needs a secure context, and this page is served over plain HTTP in a house too.
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function newMessage(fields: Pick<Message, "conversationId" | "parentId" | "role"> & Partial<Message>): Message {
  return {
    id: newId(),
    content: "",
    reasoning: "",
    reasoningMs: 0,
    toolCalls: [],
    model: "",
    cost: null,
    status: "done",
    error: "",
    finish: "",
    stream: "",
    begin: null,
    createdAt: Date.now(),
    ...fields,
  };
}

export function newConversation(fields: Partial<Conversation> = {}): Conversation {
  const now = Date.now();
  return { id: newId(), title: "", system: "", leaf: null, createdAt: now, updatedAt: now, ...fields };
}

const TITLE = 60;

/** A conversation's name until somebody gives it a better one: the beginning of the first question. */
export function titleOf(text: string): string {
  const line = text.trim().split("\n", 1)[0]?.trim() ?? "";
  return line.length <= TITLE ? line : `${line.slice(0, TITLE - 1).trimEnd()}…`;
}
