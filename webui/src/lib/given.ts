/** Defaults that the server's owner gives the page with --ui-config: `ui_settings` of `/props`. The names are those of
 * llama-server's page, as far as this one has such a setting; others, and values of a wrong kind, count for nothing. */

import { PARAMETERS, valueOf, type Chosen } from "./parameters";
import { readPresets, type Preset } from "./presets";

export type Theme = "system" | "light" | "dark";

export interface Values {
  theme: Theme;
  /** System prompt of new conversations. */
  system: string;
  parameters: Chosen;
  /** Further fields of requests: a JSON object, as it was typed. */
  custom: string;
  think: boolean;
  enterSends: boolean;
  /** Ask for the probabilities of an answer's tokens. */
  probabilities: boolean;
  /** Pasted text that has more characters becomes an attachment; 0 is never. */
  pasteLength: number;
  presets: readonly Preset[];
  apiKey: string;
}

export const BUILT_IN: Values = {
  theme: "system",
  system: "",
  parameters: {},
  custom: "",
  think: true,
  enterSends: true,
  probabilities: false,
  pasteLength: 2500,
  presets: [],
  apiKey: "",
};

/** Names that llama-server's page has for parameters of the API. */
const NAMES: Readonly<Record<string, string>> = { typical_p: "typ_p" };

export function readGiven(settings: Readonly<Record<string, unknown>>): Partial<Values> {
  const { theme, systemMessage, customJson, sendOnEnter, pasteLongTextToFileLen, presets } = settings;
  const given: Partial<Values> = { parameters: readParameters(settings) };
  if (theme === "light" || theme === "dark" || theme === "system") given.theme = theme;
  if (typeof systemMessage === "string") given.system = systemMessage;
  if (typeof customJson === "string") given.custom = customJson;
  if (typeof sendOnEnter === "boolean") given.enterSends = sendOnEnter;
  const length = Number(pasteLongTextToFileLen ?? NaN);
  if (length >= 0) given.pasteLength = length;
  if (Array.isArray(presets)) given.presets = readPresets(presets);
  return given;
}

function readParameters(settings: Readonly<Record<string, unknown>>): Chosen {
  const read = PARAMETERS.map((parameter) => {
    const value = settings[parameter.name] ?? settings[NAMES[parameter.name] ?? ""];
    return [parameter.name, valueOf(parameter, value)] as const;
  });
  return Object.fromEntries(read.filter((entry): entry is [string, Chosen[string]] => entry[1] !== null));
}
