/** A branch of a conversation as the body of a request to `/v1/chat/completions`. */

import type { Message } from "./model";
import type { Chosen } from "./parameters";

export interface Options {
  system: string;
  parameters: Chosen;
  /** null where the model's template does not ask. */
  think: boolean | null;
  /** Continue the last message instead of answering it. */
  resume: boolean;
}

export function body(messages: readonly Message[], options: Options): Record<string, unknown> {
  const system = options.system.trim();
  return {
    ...options.parameters,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...messages.filter(says).map(turn)],
    stream: true,
    return_progress: true,
    timings_per_token: true,
    ...(options.think === null ? {} : { chat_template_kwargs: { enable_thinking: options.think } }),
    ...(options.resume ? { continue_final_message: true, add_generation_prompt: false } : {}),
  };
}

/** An answer that failed before its first word is not part of what was said. */
function says(message: Message): boolean {
  return message.role === "user" || Boolean(message.content || message.reasoning || message.toolCalls.length);
}

function turn({ role, content, reasoning, toolCalls }: Message): Record<string, unknown> {
  return {
    role,
    content,
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
