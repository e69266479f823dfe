/** A branch of a conversation as the body of a request to `/v1/chat/completions`. */

import { SOUNDS } from "./attach";
import type { Attachment, Format, Message } from "./model";
import type { Chosen } from "./parameters";
import type { Definition } from "./tools";

export interface Options {
  system: string;
  parameters: Chosen;
  /** Further fields, which the page has no input for. */
  custom: Readonly<Record<string, unknown>>;
  format: Format;
  /** What is in the attachments, by their ids. */
  contents: ReadonlyMap<string, string>;
  /** null where the model's template does not ask. */
  think: boolean | null;
  /** Continue the last message instead of answering it. */
  resume: boolean;
  /** What the model may call. */
  tools: readonly Definition[];
  /** Ask for each token's probability, and for those of this many in its place; 0 asks for none. */
  probabilities: number;
}

export function body(messages: readonly Message[], options: Options): Record<string, unknown> {
  const system = options.system.trim();
  const said = messages.filter(says).flatMap((message) => turns(message, options.contents));
  return {
    ...options.parameters,
    ...formatOf(options.format),
    ...options.custom,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...said],
    stream: true,
    return_progress: true,
    timings_per_token: true,
    // A grammar says what may be written, and calls of tools are not in it: servers refuse both together.
    ...(options.tools.length && options.format.kind !== "grammar" ? { tools: options.tools } : {}),
    ...(options.probabilities ? { logprobs: true, top_logprobs: options.probabilities } : {}),
    ...thinking(options),
    ...(options.resume ? { continue_final_message: true, add_generation_prompt: false } : {}),
  };
}

function thinking({ think, custom }: Options): Record<string, unknown> {
  const variables = custom.chat_template_kwargs;
  if (think === null) return {};
  return { chat_template_kwargs: { enable_thinking: think, ...(variables as object | undefined) } };
}

/** What the server is asked for to have answers of this form. */
export function formatOf({ kind, schema, grammar }: Format): Record<string, unknown> {
  if (kind === "json") return { response_format: { type: "json_object" } };
  if (kind === "grammar") return { grammar };
  if (kind === "text") return {};
  const named = { name: "answer", strict: true, schema: parsed(schema) };
  return { response_format: { type: "json_schema", json_schema: named } };
}

/** An answer that failed before its first word is not part of what was said. */
function says(message: Message): boolean {
  return message.role === "user" || Boolean(message.content || message.reasoning || message.toolCalls.length);
}

/** A message, and what the tools gave that it calls. */
export function turns(message: Message, contents: Options["contents"]): Record<string, unknown>[] {
  const results = message.toolCalls.flatMap(({ id, result }) =>
    result ? [{ role: "tool", tool_call_id: id, content: result.text }] : [],
  );
  return [turn(message, contents), ...results];
}

function turn(message: Message, contents: Options["contents"]): Record<string, unknown> {
  const { role, content, attachments, reasoning, toolCalls } = message;
  const files = attachments.map((attachment) => part(attachment, contents.get(attachment.id) ?? ""));
  const text = content ? [{ type: "text", text: content }] : [];
  return {
    role,
    // Files first: when only the question changes, the server has the files in its cache.
    content: files.length ? [...files, ...text] : content,
    ...(reasoning ? { reasoning_content: reasoning } : {}),
    ...(toolCalls.length
      ? {
          tool_calls: toolCalls.map(({ id, name, arguments: written }) => ({
            id,
            type: "function",
            function: { name, arguments: written },
          })),
        }
      : {}),
  };
}

function part({ kind, name, type }: Attachment, data: string): Record<string, unknown> {
  if (kind === "image") return { type: "image_url", image_url: { url: `data:${type};base64,${data}` } };
  if (kind === "audio") return { type: "input_audio", input_audio: { data, format: SOUNDS[type] ?? "wav" } };
  return { type: "text", text: `<file name="${name.replaceAll('"', "'")}">\n${data.trimEnd()}\n</file>\n\n` };
}

/** A JSON object that somebody typed; an empty one where it is none. */
export function objectOf(text: string): Record<string, unknown> {
  const value = parsed(text);
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}

/** JSON as its value, anything else as the text that it is, which the server refuses with a reason. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
