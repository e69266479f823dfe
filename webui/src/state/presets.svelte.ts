/** What the settings have in common with presets: which is used, and using another one. */

import { isSame, withPresets, type Preset } from "../lib/presets";
import { chat } from "./chat.svelte";
import { settings } from "./settings.svelte";

class Presets {
  /** The settings as a preset, with the system prompt of the conversation that is shown if it has one. */
  readonly current = $derived<Preset>({
    name: "",
    system: chat.system.trim() ? chat.system : settings.system,
    parameters: settings.parameters,
    custom: settings.custom,
  });
  readonly used = $derived(settings.presets.find((preset) => isSame(preset, this.current)) ?? null);

  save(name: string): void {
    settings.presets = withPresets(settings.presets, [{ ...this.current, name }]);
  }

  /** Its system prompt is that of new conversations, and of the one that is shown. */
  use({ system, parameters, custom }: Preset): void {
    settings.parameters = parameters;
    settings.custom = custom;
    settings.system = system;
    void chat.setSystem(system);
  }

  rename(preset: Preset, name: string): void {
    settings.presets = withPresets(this.#without(preset), [{ ...preset, name }]);
  }

  remove(preset: Preset): void {
    settings.presets = this.#without(preset);
  }

  #without(preset: Preset): Preset[] {
    return settings.presets.filter(({ name }) => name !== preset.name);
  }
}

export const presets = new Presets();
