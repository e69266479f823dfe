/** Prometheus' text format, as far as the live page needs it. */

/** Values by name, labels included as they are written: `llamahttp:kv_cells{state="used"}`. */
export type Metrics = ReadonlyMap<string, number>;

export function readMetrics(text: string): Metrics {
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

/** The values of a metric by the value of its only label. */
export function byLabel(metrics: Metrics, name: string): Map<string, number> {
  const found = [...metrics].flatMap(([key, value]) => {
    const [, label] = key.startsWith(`${name}{`) ? (/^[^{]+\{\w+="([^"]*)"\}$/.exec(key) ?? []) : [];
    return label === undefined ? [] : [[label, value] as const];
  });
  return new Map(found);
}

export function sum(values: Iterable<number>): number {
  return [...values].reduce((total, value) => total + value, 0);
}

/** The value that a share `q` of what a histogram counted between two looks does not exceed, as Prometheus guesses it:
 * evenly spread within a bucket. null where nothing was counted. */
export function quantile(before: Metrics | undefined, after: Metrics, name: string, q: number): number | null {
  const counted = buckets(after, name);
  const old = new Map(before ? buckets(before, name) : []);
  const isSame = counted.every(([bound, n]) => n >= (old.get(bound) ?? 0)); // not so after a restart
  const grown = isSame ? counted.map(([bound, n]) => [bound, n - (old.get(bound) ?? 0)] as const) : counted;
  const all = grown.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  const at = grown.findIndex(([, n]) => n >= q * all);
  const [high, n] = grown[at]!;
  const [low, below] = grown[at - 1] ?? [0, 0];
  return high === Infinity ? low : low + ((high - low) * (q * all - below)) / (n - below);
}

/** Pairs (upper bound, values up to it), ascending. */
function buckets(metrics: Metrics, name: string): [number, number][] {
  const found = [...byLabel(metrics, `${name}_bucket`)];
  return found.map(([bound, n]): [number, number] => [bound === "+Inf" ? Infinity : Number(bound), n]).sort(([a], [b]) => a - b);
}
