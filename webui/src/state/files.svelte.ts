/** Files that are being attached to a message. */

import { attach, NotAttachable, textDraft, type Draft } from "../lib/attach";
import { strings } from "../strings";
import { server } from "./server.svelte";
import { settings } from "./settings.svelte";
import { store } from "./store";

export class Files {
  list = $state.raw<readonly Draft[]>([]);
  /** Why some were not taken. */
  faults = $state.raw<readonly string[]>([]);
  /** How many are being read. */
  nReading = $state(0);
  #nPasted = 0;

  constructor(list: readonly Draft[] = []) {
    this.list = list;
  }

  /** Read files and keep those that the model can take, in their order. */
  async add(files: Iterable<File>): Promise<void> {
    const all = [...files];
    this.faults = [];
    this.nReading += all.length;
    const read = await Promise.allSettled(all.map((file) => attach(file, server.modalities)));
    this.nReading -= all.length;
    this.list = [...this.list, ...read.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []))];
    this.faults = read.flatMap((one, index) => {
      if (one.status === "fulfilled") return [];
      const reason: unknown = one.reason;
      return [reason instanceof NotAttachable ? reason.message : strings.notRead(all[index]!.name)];
    });
  }

  /** Take files and long texts out of what is pasted; other texts go where the cursor is. */
  paste(event: ClipboardEvent): void {
    const { files, types } = event.clipboardData ?? {};
    const text = event.clipboardData?.getData("text/plain") ?? "";
    const isLong = settings.pasteLength > 0 && text.length > settings.pasteLength;
    // Text of an office program comes as text, HTML and a picture of it; it is meant as text.
    if (files?.length && !(text && types?.includes("text/html"))) {
      event.preventDefault();
      void this.add(files);
    } else if (isLong) {
      event.preventDefault();
      this.list = [...this.list, textDraft(strings.pasted(++this.#nPasted), text.replaceAll("\r\n", "\n"))];
    }
  }

  remove(id: string): void {
    this.list = this.list.filter((file) => file.id !== id);
  }

  /** All of them, for a message; none is left here. */
  take(): readonly Draft[] {
    const taken = this.list;
    this.list = [];
    this.faults = [];
    this.#nPasted = 0;
    return taken;
  }

  /** What was taken could not be sent, and why. */
  giveBack(taken: readonly Draft[], reason: string): void {
    this.list = [...taken, ...this.list];
    this.faults = [reason];
  }
}

/** What is in a file, whether it is stored or not; null if it is not there any more. */
export async function dataOf(file: { id: string; data?: string | null }): Promise<string | null> {
  return file.data ?? (await store.contents.get(file.id))?.data ?? null;
}
