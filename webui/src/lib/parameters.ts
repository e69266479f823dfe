/** Parameters of the API that the settings offer, with the limits of their inputs. */

export interface Parameter {
  name: string;
  group: Group;
  kind: "number" | "integer" | "list" | "texts" | "switch" | "json";
  min?: number;
  max?: number;
}

export const GROUPS = ["common", "sampling", "penalties", "mirostat", "other"] as const;
export type Group = (typeof GROUPS)[number];

const number = (name: string, group: Group, min?: number, max?: number): Parameter => ({
  name,
  group,
  kind: "number",
  min,
  max,
});
const integer = (name: string, group: Group, min?: number, max?: number): Parameter => ({
  name,
  group,
  kind: "integer",
  min,
  max,
});

export const PARAMETERS: readonly Parameter[] = [
  number("temperature", "common", 0),
  integer("max_tokens", "common", -1),
  integer("seed", "common", -1),
  integer("reasoning_budget_tokens", "common", -1),
  { name: "stop", group: "common", kind: "texts" },
  integer("top_k", "sampling", 0),
  number("top_p", "sampling", 0, 1),
  number("min_p", "sampling", 0, 1),
  number("typical_p", "sampling", 0, 1),
  number("top_n_sigma", "sampling", -1),
  integer("min_keep", "sampling", 0),
  number("xtc_probability", "sampling", 0, 1),
  number("xtc_threshold", "sampling", 0, 1),
  number("dynatemp_range", "sampling", 0),
  number("dynatemp_exponent", "sampling", 0),
  number("adaptive_target", "sampling", -1, 1),
  number("adaptive_decay", "sampling", 0, 0.99),
  number("repeat_penalty", "penalties", 0),
  integer("repeat_last_n", "penalties", 0),
  number("presence_penalty", "penalties", -2, 2),
  number("frequency_penalty", "penalties", -2, 2),
  number("dry_multiplier", "penalties", 0),
  number("dry_base", "penalties", 0),
  integer("dry_allowed_length", "penalties", 0),
  integer("dry_penalty_last_n", "penalties", 0),
  { name: "dry_sequence_breakers", group: "penalties", kind: "texts" },
  integer("mirostat", "mirostat", 0, 2),
  number("mirostat_tau", "mirostat"),
  number("mirostat_eta", "mirostat"),
  { name: "samplers", group: "other", kind: "list" },
  { name: "logit_bias", group: "other", kind: "json" },
  { name: "ignore_eos", group: "other", kind: "switch" },
  { name: "backend_sampling", group: "other", kind: "switch" },
  integer("t_max_predict_ms", "other", -1),
  integer("n_keep", "other", -1),
];

export type Value = number | boolean | readonly string[] | object;

/** Settings of the user, by parameter; what is not there is left to the server. */
export type Chosen = Readonly<Record<string, Value>>;

/** What an input holds as a value for the API; null when it is empty, so that the server's default holds, and when it
 * means nothing. */
export function parse(parameter: Parameter, text: string): Value | null {
  if (text.trim() === "") return null;
  if (parameter.kind === "switch") return text === "true";
  if (parameter.kind === "list") return text.split(/[\s,;]+/).filter(Boolean);
  if (parameter.kind === "texts" || parameter.kind === "json") return parseJson(parameter.kind, text);
  const value = Number(text);
  if (!Number.isFinite(value)) return null;
  const limited = Math.min(parameter.max ?? Infinity, Math.max(parameter.min ?? -Infinity, value));
  return parameter.kind === "integer" ? Math.round(limited) : limited;
}

/** Texts with line ends and spaces need quotes: they are a JSON array, or one text as it is. */
function parseJson(kind: "texts" | "json", text: string): Value | null {
  try {
    const value = JSON.parse(text) as unknown;
    if (kind === "json") return typeof value === "object" ? value : null;
    if (Array.isArray(value)) return value.map(String);
    if (typeof value === "string") return [value];
  } catch {
    // one text, not quoted
  }
  return kind === "texts" ? [text] : null;
}

/** A value as an input shows it: numbers without the noise of 32-bit floats. */
export function show({ kind }: Parameter, value: unknown): string {
  if (typeof value === "number") return String(Number(value.toPrecision(6)));
  if (typeof value === "boolean") return String(value);
  if (typeof value !== "object" || value === null) return "";
  return Array.isArray(value) && kind === "list" ? value.join(", ") : JSON.stringify(value);
}

/** A value from a file or the server's owner; null if it is of a wrong kind. */
export function valueOf(parameter: Parameter, value: unknown): Value | null {
  if (parameter.kind === "json") return typeof value === "object" ? value : null;
  if (parameter.kind === "switch") return typeof value === "boolean" ? value : null;
  if (Array.isArray(value)) return parameter.kind === "list" || parameter.kind === "texts" ? value.map(String) : null;
  return typeof value === "number" || typeof value === "string" ? parse(parameter, String(value)) : null;
}

/** What of `values` are parameters that the page knows. */
export function readChosen(values: unknown): Chosen {
  const given = (typeof values === "object" && values !== null ? values : {}) as Record<string, unknown>;
  const read = PARAMETERS.map((parameter) => [parameter.name, valueOf(parameter, given[parameter.name])] as const);
  return Object.fromEntries(read.filter((entry): entry is [string, Value] => entry[1] !== null));
}

/** The server's default of each parameter, from `/props`. A seed of all ones stands for a new one each time. */
export function defaultsOf(params: Record<string, unknown>): Record<string, string> {
  const shown = PARAMETERS.map((parameter) => [parameter.name, show(parameter, params[parameter.name])] as const);
  return Object.fromEntries(shown.map(([name, text]) => [name, name === "seed" && Number(text) > 4e9 ? "" : text]));
}

interface OpenApi {
  paths?: Record<string, { post?: { requestBody?: { content?: Record<string, { schema?: Schema }> } } }>;
}
interface Schema {
  properties?: Record<string, { description?: string; default?: unknown }>;
}

export interface Documented {
  description: string;
  /** What the API says for servers that say nothing. */
  default: string;
}

/** What parameters of chats mean, from the server's `/openapi.json`. */
export function readDocumentation({ paths }: OpenApi): Record<string, Documented> {
  const path = Object.keys(paths ?? {}).find((name) => name.endsWith("/v1/chat/completions"));
  const properties = paths?.[path ?? ""]?.post?.requestBody?.content?.["application/json"]?.schema?.properties ?? {};
  const read = PARAMETERS.map((parameter) => {
    const own = properties[parameter.name];
    const other = properties[/^Another name of `(\w+)`/.exec(own?.description ?? "")?.[1] ?? ""];
    const { description = "", default: value } = other ?? own ?? {};
    return [parameter.name, { description: description.replaceAll("`", ""), default: show(parameter, value) }] as const;
  });
  return Object.fromEntries(read);
}
