/** Where mathematics begins and ends in Markdown: `$a$`, `$$a$$`, `\(a\)` and `\[a\]`. */

export interface InlineMath {
  tex: string;
  display: boolean;
  /** Position after it. */
  end: number;
}

const FENCES = [
  { open: "$$", close: "$$", display: true },
  { open: "\\[", close: "\\]", display: true },
  { open: "\\(", close: "\\)", display: false },
] as const;

/** The mathematics that begins at `start` of a line of text, if there is any. */
export function inlineMath(text: string, start: number): InlineMath | null {
  for (const { open, close, display } of FENCES) {
    if (!text.startsWith(open, start)) continue;
    const stop = text.indexOf(close, start + open.length);
    const tex = text.slice(start + open.length, stop).trim();
    return stop < 0 || !tex ? null : { tex, display, end: stop + close.length };
  }
  if (text[start] !== "$") return null;
  // As in Pandoc: no space inside, no digit after it, so that "$5 and $6" stay prices.
  const [all, tex] = /^\$(?!\s)((?:\\.|[^\\$\n])+?)(?<!\s)\$(?!\d)/.exec(text.slice(start, start + 2000)) ?? [];
  return all && tex ? { tex, display: false, end: start + all.length } : null;
}

export interface DisplayMath {
  tex: string;
  lines: number;
}

/** Lines of a display at most; each line that opens one may look so far ahead. */
const MAX_LINES = 200;

/** The display that the first of the lines opens, if another one closes it with nothing behind it. Of lines that open
 * none only the first is taken. */
export function displayMath(lines: Iterable<string>): DisplayMath | null {
  const read: string[] = [];
  let fence: (typeof FENCES)[number] | undefined;
  for (const text of lines) {
    fence ??= FENCES.find(({ open, display }) => display && text.startsWith(open));
    if (!fence || read.length === MAX_LINES) return null;
    const stop = text.indexOf(fence.close, read.length ? 0 : fence.open.length);
    if (stop >= 0) return displayOf([...read, text.slice(0, stop)], fence.open, text.slice(stop + fence.close.length));
    read.push(text);
  }
  return null;
}

function displayOf(lines: readonly string[], open: string, rest: string): DisplayMath | null {
  const tex = lines.join("\n").slice(open.length).trim();
  return tex && !rest.trim() ? { tex, lines: lines.length } : null;
}
