/** Sampling parameters that the settings offer: names of the API, with the limits of the inputs. */

export interface Parameter {
  name: string;
  group: "common" | "sampling" | "penalties" | "other";
  kind: "number" | "integer" | "list";
  min?: number;
  max?: number;
  step?: number;
}

const number = (name: string, group: Parameter["group"], min?: number, max?: number, step = 0.01): Parameter => ({
  name,
  group,
  kind: "number",
  min,
  max,
  step,
});
const integer = (name: string, group: Parameter["group"], min?: number, max?: number): Parameter => ({
  name,
  group,
  kind: "integer",
  min,
  max,
  step: 1,
});

export const PARAMETERS: readonly Parameter[] = [
  number("temperature", "common", 0, undefined, 0.05),
  integer("max_tokens", "common", -1),
  integer("seed", "common", 0),
  integer("top_k", "sampling", 0),
  number("top_p", "sampling", 0, 1),
  number("min_p", "sampling", 0, 1),
  number("typical_p", "sampling", 0, 1),
  number("top_n_sigma", "sampling", -1),
  number("xtc_probability", "sampling", 0, 1),
  number("xtc_threshold", "sampling", 0, 1),
  number("dynatemp_range", "sampling", 0),
  number("dynatemp_exponent", "sampling", 0),
  number("repeat_penalty", "penalties", 0),
  integer("repeat_last_n", "penalties", -1),
  number("presence_penalty", "penalties", -2, 2),
  number("frequency_penalty", "penalties", -2, 2),
  number("dry_multiplier", "penalties", 0),
  number("dry_base", "penalties", 0),
  integer("dry_allowed_length", "penalties", 0),
  integer("dry_penalty_last_n", "penalties", -1),
  { name: "samplers", group: "other", kind: "list" },
];

/** Settings of the user, by parameter; what is not there is left to the server. */
export type Chosen = Record<string, number | string[]>;

/** What an input holds as a value for the API; null when it is empty, so that the server's default holds. */
export function parse(parameter: Parameter, text: string): number | string[] | null {
  if (text.trim() === "") return null;
  if (parameter.kind === "list") return text.split(/[\s,;]+/).filter(Boolean);
  const value = Number(text);
  if (!Number.isFinite(value)) return null;
  const limited = Math.min(parameter.max ?? Infinity, Math.max(parameter.min ?? -Infinity, value));
  return parameter.kind === "integer" ? Math.round(limited) : limited;
}

/** A value as an input shows it: without the noise of 32-bit floats. */
export function show(value: unknown): string {
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : "";
}

/** The server's default of each parameter, from `/props`. A seed of all ones stands for a new one each time. */
export function defaultsOf(params: Record<string, unknown>): Record<string, string> {
  const shown = PARAMETERS.map(({ name }) => [name, show(params[name])] as const);
  return Object.fromEntries(shown.map(([name, text]) => [name, name === "seed" && Number(text) > 4e9 ? "" : text]));
}
