/** Prometheus' text format, as far as the live page needs it. */

/** Values by name, labels included as they are written: `llamahttp:kv_cells{state="used"}`. */
export function readMetrics(text: string): Map<string, number> {
  const samples = text.split("\n").flatMap((line) => {
    const [, name, value] = /^([^#\s{]+(?:\{.*\})?) (\S+)/.exec(line) ?? [];
    return name && value ? [[name, Number(value)] as const] : [];
  });
  return new Map(samples);
}

/** What a counter grew by in a second, between two looks `seconds` apart; 0 after a restart of the server. */
export function rate(before: number | undefined, after: number | undefined, seconds: number): number {
  return before === undefined || after === undefined || seconds <= 0 ? 0 : Math.max(0, (after - before) / seconds);
}
