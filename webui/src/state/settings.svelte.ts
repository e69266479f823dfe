/** The reader's settings, kept by the browser: what was chosen here, else what the server's owner gives, else what is
 * built in. */

import { BUILT_IN, readGiven, type Theme, type Values } from "../lib/given";
import type { Preset } from "../lib/presets";

export type { Theme } from "../lib/given";

const PREFIX = "llamahttp.";
/** What the page was painted in last, for the script that runs before the server is asked. */
const PAINTED = `${PREFIX}painted`;
const NAMES = Object.keys(BUILT_IN) as (keyof Values)[];

function load(): Partial<Values> {
  const kept = NAMES.map((name) => [name, read(localStorage.getItem(PREFIX + name))] as const);
  return Object.fromEntries(kept.filter(([, value]) => value !== undefined)) as Partial<Values>;
}

function read(text: string | null): unknown {
  try {
    return text === null ? undefined : (JSON.parse(text) as unknown);
  } catch {
    return undefined;
  }
}

class Settings {
  #own = $state.raw<Partial<Values>>(load());
  #given = $state.raw<Partial<Values>>({});
  readonly #all = $derived<Values>({ ...BUILT_IN, ...this.#given, ...this.#own });
  /** The parameters that requests get: the owner's, and over them the reader's. */
  readonly sent = $derived({ ...this.#given.parameters, ...this.parameters });
  /** What holds for a parameter when the reader chooses nothing, where the server's owner says so. */
  readonly given = $derived(this.#given.parameters ?? {});

  get theme(): Theme {
    return this.#all.theme;
  }
  set theme(theme: Theme) {
    this.#set({ theme });
  }
  /** What the reader has chosen. */
  get parameters(): Values["parameters"] {
    return this.#own.parameters ?? {};
  }
  set parameters(parameters: Values["parameters"]) {
    this.#set({ parameters });
  }
  get system(): string {
    return this.#all.system;
  }
  set system(system: string) {
    this.#set({ system });
  }
  get custom(): string {
    return this.#all.custom;
  }
  set custom(custom: string) {
    this.#set({ custom });
  }
  get think(): boolean {
    return this.#all.think;
  }
  set think(think: boolean) {
    this.#set({ think });
  }
  get enterSends(): boolean {
    return this.#all.enterSends;
  }
  set enterSends(enterSends: boolean) {
    this.#set({ enterSends });
  }
  get probabilities(): boolean {
    return this.#all.probabilities;
  }
  set probabilities(probabilities: boolean) {
    this.#set({ probabilities });
  }
  get pasteLength(): number {
    return this.#all.pasteLength;
  }
  set pasteLength(pasteLength: number) {
    this.#set({ pasteLength });
  }
  get presets(): readonly Preset[] {
    return this.#all.presets;
  }
  set presets(presets: readonly Preset[]) {
    this.#set({ presets });
  }
  get apiKey(): string {
    return this.#all.apiKey;
  }
  set apiKey(apiKey: string) {
    this.#set({ apiKey });
  }

  /** Take what the server's owner gives. */
  take(given: Record<string, unknown>): void {
    this.#given = readGiven(given);
  }

  /** Forget what was chosen in this browser, but the key and the presets. */
  reset(): void {
    for (const name of NAMES) if (name !== "apiKey" && name !== "presets") localStorage.removeItem(PREFIX + name);
    this.#own = load();
  }

  #set(values: Partial<Values>): void {
    this.#own = { ...this.#own, ...values };
    for (const [name, value] of Object.entries(values)) localStorage.setItem(PREFIX + name, JSON.stringify(value));
  }

  /** Show the theme, and follow what another tab chooses. */
  keep(): () => void {
    addEventListener("storage", () => (this.#own = load()));
    return $effect.root(() => {
      $effect(() => {
        document.documentElement.dataset.theme = this.theme;
        localStorage.setItem(PAINTED, this.theme);
      });
    });
  }
}

export const settings = new Settings();
