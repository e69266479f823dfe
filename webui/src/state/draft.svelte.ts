/** The message that is being written: it stays while something else is looked at, its text through a reload too. */

import { Files } from "./files.svelte";

const KEPT = "llamahttp.draft";

class Draft {
  #text = $state(sessionStorage.getItem(KEPT) ?? "");
  readonly files = new Files();

  get text(): string {
    return this.#text;
  }

  set text(text: string) {
    this.#text = text;
    try {
      sessionStorage.setItem(KEPT, text);
    } catch {
      sessionStorage.removeItem(KEPT); // it is longer than what the browser keeps
    }
  }
}

export const draft = new Draft();
