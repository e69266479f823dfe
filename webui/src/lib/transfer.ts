/** Conversations to files and back. */

import type { Attachment, Content, Conversation, Format, LikelyToken, Message, Token, ToolCall } from "./model";
import { newConversation, newId, newMessage, NO_FORMAT } from "./model";
import { strings } from "../strings";
import { branch, newestLeaf } from "./tree";

const FORMAT = "llamahttp-conversations";
const VERSION = 1;
const faults = strings.importFaults;

export interface Exported {
  conversation: Conversation;
  messages: Message[];
  contents: Content[];
}

/** With a text for the reader. */
export class NotAnExport extends Error {}

export function toJson(items: readonly Exported[]): string {
  return JSON.stringify({ format: FORMAT, version: VERSION, conversations: items }, null, 1);
}

/** The branch that is shown, to read or to send to somebody. */
export function toMarkdown({ conversation, messages }: Exported, you: string): string {
  const parts = branch(messages, conversation.leaf).map(({ role, model, content, attachments }) => {
    const files = attachments.map(({ name }) => `- ${name}\n`).join("");
    return `## ${role === "user" ? you : model || role}\n\n${files && `${files}\n`}${content.trim()}\n`;
  });
  return [`# ${conversation.title}\n`, ...parts].join("\n");
}

/** What is in a file, checked field by field, under new names: an import never replaces what is there.
 * Throws NotAnExport. */
export function fromJson(text: string): Exported[] {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    throw new NotAnExport(faults.notJson);
  }
  if (!isObject(file) || file.format !== FORMAT) throw new NotAnExport(faults.notOurs);
  if (file.version !== VERSION) throw new NotAnExport(faults.version(String(file.version), VERSION));
  return list(file.conversations).map(readOne);
}

function readOne(item: unknown): Exported {
  const { conversation, messages, contents } = object(item);
  const given = object(conversation);
  const read = list(messages).map(object);
  const files = list(contents).map(object);
  const ids = new Map([...read, ...files].map(({ id }) => [string(id), newId()]));
  const known = (id: unknown) => ids.get(string(id)) ?? null;
  const created = newConversation({
    title: string(given.title),
    system: string(given.system),
    format: readFormat(given.format) ?? NO_FORMAT,
    leaf: known(given.leaf),
    createdAt: number(given.createdAt) || Date.now(),
    updatedAt: number(given.updatedAt) || Date.now(),
  });
  const kept = read.map((message) => readMessage(message, created.id, known));
  const last = kept.at(-1);
  if (created.leaf === null && last) created.leaf = newestLeaf(kept, last.id);
  const filled = files.map(({ id, data }) => ({ id: known(id)!, conversationId: created.id, data: string(data) }));
  return { conversation: created, messages: kept, contents: filled };
}

function readMessage(
  message: Record<string, unknown>,
  conversationId: string,
  known: (id: unknown) => string | null,
): Message {
  const status = string(message.status);
  return newMessage({
    id: known(message.id) ?? newId(),
    conversationId,
    parentId: known(message.parentId),
    role: message.role === "user" ? "user" : "assistant",
    content: string(message.content),
    reasoning: string(message.reasoning),
    reasoningMs: number(message.reasoningMs),
    toolCalls: list(message.toolCalls).map(readCall),
    ...(message.tokens === undefined ? {} : { tokens: list(message.tokens).map(readToken) }),
    attachments: list(message.attachments).map((attachment) => readAttachment(attachment, known)),
    format: readFormat(message.format),
    model: string(message.model),
    cost: readCost(message.cost),
    status: status === "done" || status === "failed" ? status : "stopped",
    error: string(message.error),
    finish: string(message.finish),
    createdAt: number(message.createdAt) || Date.now(),
  });
}

function readCall(call: unknown): ToolCall {
  const { id, name, arguments: written, result } = object(call);
  const given = { id: string(id), name: string(name), arguments: string(written) };
  if (!isObject(result)) return given;
  return { ...given, result: { text: string(result.text), isError: result.isError === true, ms: number(result.ms) } };
}

function readToken(token: unknown): Token {
  return { ...readLikely(token), top: list(object(token).top).map(readLikely) };
}

function readLikely(token: unknown): LikelyToken {
  const { text, logprob, bytes } = object(token);
  const read = { text: string(text), logprob: number(logprob) };
  return Array.isArray(bytes) ? { ...read, bytes: bytes.map(number) } : read;
}

function readAttachment(attachment: unknown, known: (id: unknown) => string | null): Attachment {
  const { id, name, kind, type, size } = object(attachment);
  const fields = { id: known(id) ?? newId(), name: string(name), type: string(type), size: number(size) };
  return { ...fields, kind: kind === "pdf" || kind === "image" || kind === "audio" ? kind : "text" };
}

function readFormat(format: unknown): Format | null {
  if (!isObject(format)) return null;
  const { kind, schema, grammar } = format;
  const known = kind === "json" || kind === "schema" || kind === "grammar" ? kind : "text";
  return { kind: known, schema: string(schema), grammar: string(grammar) };
}

function readCost(cost: unknown): Message["cost"] {
  if (!isObject(cost)) return null;
  return {
    promptTokens: number(cost.promptTokens),
    cachedTokens: number(cost.cachedTokens),
    tokens: number(cost.tokens),
    speed: number(cost.speed),
    promptSpeed: number(cost.promptSpeed),
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function object(value: unknown): Record<string, unknown> {
  if (!isObject(value)) throw new NotAnExport(faults.conversation);
  return value;
}

function list(value: unknown): unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new NotAnExport(faults.list);
  return value;
}

const string = (value: unknown) => (typeof value === "string" ? value : "");
const number = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : 0);
