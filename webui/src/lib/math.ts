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

/** The display that the first of the lines opens, if another one closes it with nothing behind it. */
export function displayMath(lines: readonly string[]): DisplayMath | null {
  const first = lines[0] ?? "";
  const fence = FENCES.find(({ open, display }) => display && first.startsWith(open));
  if (!fence) return null;
  for (const [index, text] of lines.entries()) {
    const from = index === 0 ? fence.open.length : 0;
    const stop = text.indexOf(fence.close, from);
    if (stop < 0) continue;
    if (text.slice(stop + fence.close.length).trim()) return null;
    const all = [...lines.slice(0, index), text.slice(0, stop)].join("\n").slice(fence.open.length).trim();
    return all ? { tex: all, lines: index + 1 } : null;
  }
  return null;
}
