/** The reader's settings, kept by the browser. */

import type { Chosen } from "../lib/parameters";

export type Theme = "system" | "light" | "dark";

const PREFIX = "llamahttp.";

function load<T>(name: string, otherwise: T): T {
  try {
    return (JSON.parse(localStorage.getItem(PREFIX + name) ?? "null") as T | null) ?? otherwise;
  } catch {
    return otherwise;
  }
}

class Settings {
  theme = $state<Theme>((localStorage.getItem(`${PREFIX}theme`) as Theme | null) ?? "system");
  parameters = $state.raw<Chosen>(load("parameters", {}));
  system = $state(load("system", ""));
  think = $state(load("think", true));
  enterSends = $state(load("enterSends", true));
  apiKey = $state(load("apiKey", ""));

  /** Keep what changes from now on. */
  keep(): () => void {
    return $effect.root(() => {
      $effect(() => {
        document.documentElement.dataset.theme = this.theme;
        localStorage.setItem(`${PREFIX}theme`, this.theme);
      });
      $effect(() => {
        const { parameters, system, think, enterSends, apiKey } = this;
        for (const [name, value] of Object.entries({ parameters, system, think, enterSends, apiKey })) {
          localStorage.setItem(PREFIX + name, JSON.stringify(value));
        }
      });
    });
  }
}

export const settings = new Settings();
