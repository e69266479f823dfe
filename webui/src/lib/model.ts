/** What is stored: conversations and their messages. */

export type Role = "user" | "assistant";

/** `writing` is also what a message is left as when its page goes away; it can be resumed then. */
export type Status = "done" | "writing" | "stopped" | "failed";

export interface ToolCall {
  id: string;
  name: string;
  /** JSON, as the model wrote it; while it is being written a beginning of it. */
  arguments: string;
  /** What the tool gave; not there until it has run. */
  result?: ToolResult;
}

export interface ToolResult {
  text: string;
  isError: boolean;
  /** How long it ran, in milliseconds. */
  ms: number;
}

export interface LikelyToken {
  text: string;
  /** Natural logarithm of its probability. */
  logprob: number;
  /** Where the token alone is no text, such as a part of a letter: its bytes. */
  bytes?: number[];
}

/** A token of an answer, and the most likely ones in its place, itself among them if it was one. */
export interface Token extends LikelyToken {
  top: LikelyToken[];
}

/** What the answer cost, from the server's `timings`; counts of tokens, speeds in tokens/s. */
export interface Cost {
  promptTokens: number;
  cachedTokens: number;
  tokens: number;
  speed: number;
  promptSpeed: number;
}

/** `text` and `pdf` are read by the model as text, `image` and `audio` as they are, where it can. */
export type AttachmentKind = "text" | "pdf" | "image" | "audio";

/** A file that a message carries; what is in it stands in the table of contents, by the same id. */
export interface Attachment {
  id: string;
  name: string;
  kind: AttachmentKind;
  /** MIME type of the content. */
  type: string;
  /** Bytes of the file. */
  size: number;
}

export interface Content {
  id: string;
  conversationId: string;
  /** The text, or base64 of the bytes of an image or a sound. */
  data: string;
}

export type FormatKind = "text" | "json" | "schema" | "grammar";

/** What answers have to look like; the texts stay when another kind is chosen. */
export interface Format {
  kind: FormatKind;
  /** A JSON Schema, as it was typed. */
  schema: string;
  /** GBNF or llguidance's Lark. */
  grammar: string;
}

export const NO_FORMAT: Format = { kind: "text", schema: "", grammar: "" };

export interface Beginning {
  content: string;
  reasoning: string;
  reasoningMs: number;
  toolCalls: ToolCall[];
  tokens?: Token[];
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
  /** Its tokens, where their probabilities were asked for. */
  tokens?: Token[];
  attachments: Attachment[];
  /** What the answer had to look like; null for anything. */
  format: Format | null;
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
  format: Format;
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
    attachments: [],
    format: null,
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
  const empty = { title: "", system: "", format: NO_FORMAT, leaf: null };
  return { id: newId(), ...empty, createdAt: now, updatedAt: now, ...fields };
}

const TITLE = 60;

/** A conversation's name until somebody gives it a better one: the beginning of the first question. */
export function titleOf(text: string): string {
  const line = text.trim().split("\n", 1)[0]?.trim() ?? "";
  return line.length <= TITLE ? line : `${line.slice(0, TITLE - 1).trimEnd()}…`;
}

/** Whether an answer is JSON as a whole: an object or a list. */
export function isJson(text: string): boolean {
  if (!/^\s*[{[]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
