/** Named sets of parameters and a system prompt. */

import { readChosen, type Chosen } from "./parameters";

export interface Preset {
  name: string;
  system: string;
  parameters: Chosen;
  /** Further fields of requests: a JSON object, as it was typed. */
  custom: string;
}

const FORMAT = "llamahttp-presets";

export function presetsToJson(presets: readonly Preset[]): string {
  return JSON.stringify({ format: FORMAT, version: 1, presets }, null, 1);
}

/** The presets of a file; null if it is not one of presets. */
export function presetsFromJson(text: string): Preset[] | null {
  try {
    const file = JSON.parse(text) as { format?: unknown; presets?: unknown } | null;
    return file?.format === FORMAT && Array.isArray(file.presets) ? readPresets(file.presets) : null;
  } catch {
    return null;
  }
}

/** What of `items` are presets, field by field. */
export function readPresets(items: readonly unknown[]): Preset[] {
  return items.flatMap((item) => {
    const { name, system, parameters, custom } = (item ?? {}) as Record<string, unknown>;
    if (typeof name !== "string" || !name.trim()) return [];
    return [{ name: name.trim(), system: text(system), parameters: readChosen(parameters), custom: text(custom) }];
  });
}

/** `presets` with `added` among them, in the order of their names; of two of one name the added one stays. */
export function withPresets(presets: readonly Preset[], added: readonly Preset[]): Preset[] {
  const all = new Map([...presets, ...added].map((preset) => [preset.name, preset]));
  return [...all.values()].sort((a, b) => a.name.localeCompare(b.name));
}

/** Whether two presets say the same, whatever they are called. */
export function isSame(a: Preset, b: Preset): boolean {
  return contentOf(a) === contentOf(b);
}

function contentOf({ system, parameters, custom }: Preset): string {
  const sorted = Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([system.trim(), sorted, custom.trim()]);
}

const text = (value: unknown) => (typeof value === "string" ? value : "");
