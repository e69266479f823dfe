/** Tools that a model may call: those that the reader writes in JavaScript, and the server's. */

export interface Tool {
  id: string;
  source: "browser" | "server";
  name: string;
  description: string;
  /** JSON Schema of the arguments, as text. */
  parameters: string;
  /** Body of an async function with the parameter `args`; empty for the server's. */
  code: string;
  isOn: boolean;
  /** The reader is asked before each call, since it may change something. */
  asks: boolean;
}

export interface Definition {
  type: "function";
  function: { name: string; description: string; parameters: unknown };
}

/** As llama-server shows its tools at `/tools`. */
export interface ServerTool {
  tool: string;
  display_name?: string;
  permissions?: { write?: boolean };
  definition?: { function?: { name?: string; description?: string; parameters?: unknown } };
}

const NAME = /^[\w-]{1,64}$/;

export type Fault = "name" | "sameName" | "parameters" | "code";

/** What keeps a tool from being used, if anything does. */
export function faultOf(tool: Tool, others: readonly Tool[]): Fault | null {
  if (!NAME.test(tool.name)) return "name";
  if (others.some((other) => other.id !== tool.id && other.name === tool.name)) return "sameName";
  if (!schemaOf(tool.parameters)) return "parameters";
  return tool.source === "browser" && !tool.code.trim() ? "code" : null;
}

/** The schema that a text is; null where it is none of an object. */
export function schemaOf(text: string): Record<string, unknown> | null {
  try {
    const schema = JSON.parse(text) as unknown;
    const isObject = typeof schema === "object" && schema !== null && !Array.isArray(schema);
    return isObject ? (schema as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** The tools that are on and can be used, as a request names them. */
export function definitionsOf(tools: readonly Tool[]): Definition[] {
  return tools
    .filter((tool) => tool.isOn && !faultOf(tool, tools))
    .map(({ name, description, parameters }) => ({
      type: "function",
      function: { name, description, parameters: schemaOf(parameters) },
    }));
}

export function fromServer({ tool, permissions, definition }: ServerTool): Omit<Tool, "id" | "isOn"> {
  const { description = "", parameters = { type: "object", properties: {} } } = definition?.function ?? {};
  return {
    source: "server",
    name: definition?.function?.name ?? tool,
    description,
    parameters: JSON.stringify(parameters, null, 2),
    code: "",
    asks: permissions?.write ?? true,
  };
}

/** What the server's tool gave, as a model reads it. */
export function serverResult(given: unknown): { text: string; isError: boolean } {
  const { plain_text_response: text, error } = (given ?? {}) as { plain_text_response?: unknown; error?: unknown };
  if (typeof error === "string") return { text: error, isError: true };
  return { text: typeof text === "string" ? text : JSON.stringify(given), isError: false };
}

/** The arguments of a call. Throws SyntaxError, or TypeError for what is no object. */
export function readArguments(text: string): Record<string, unknown> {
  const read = JSON.parse(text.trim() || "{}") as unknown;
  if (typeof read !== "object" || read === null || Array.isArray(read)) throw new TypeError("not an object");
  return read as Record<string, unknown>;
}

const schema = (properties: object, required: string[] = []) =>
  JSON.stringify({ type: "object", properties, required }, null, 2);

/** What a reader may begin with. */
export const EXAMPLES: readonly Pick<Tool, "name" | "description" | "parameters" | "code">[] = [
  {
    name: "calculate",
    description: "Evaluates an arithmetic expression in JavaScript, such as 2 * (3 + 4) or Math.sqrt(2).",
    parameters: schema({ expression: { type: "string", description: "The expression" } }, ["expression"]),
    code: "return Function(`return (${args.expression})`)();",
  },
  {
    name: "current_time",
    description: "Tells the current date and time of the user, or of a time zone.",
    parameters: schema({ time_zone: { type: "string", description: "IANA name, such as Europe/Paris" } }),
    code: `return new Intl.DateTimeFormat("en", {
  dateStyle: "full",
  timeStyle: "long",
  timeZone: args.time_zone,
}).format(new Date());`,
  },
  {
    name: "count_words",
    description: "Counts the words and characters of a text.",
    parameters: schema({ text: { type: "string" } }, ["text"]),
    code: `return {
  words: args.text.split(/\\s+/).filter(Boolean).length,
  characters: [...args.text].length,
};`,
  },
];
