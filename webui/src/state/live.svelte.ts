/** What the server does, looked at again and again while somebody watches. */

import { quantile, rate, readMetrics, sum, byLabel, type Metrics } from "../lib/metrics";
import { look, type Lane } from "../lib/slots";
import { server } from "./server.svelte";

const SLOTS_MS = 500;
const METRICS_MS = 1000;
/** Looks that are kept: five minutes. */
const KEPT = 300;
/** Seconds that quantiles are about. */
const WINDOW_S = 60;
/** After a longer pause the curves begin anew. */
const GAP_S = 5;

interface Look {
  /** Seconds of the Unix epoch. */
  at: number;
  metrics: Metrics;
}

/** Curves over `times`, in tokens/s and seconds; null where there is nothing to tell. */
export interface Curves {
  times: number[];
  generation: (number | null)[];
  prompt: (number | null)[];
  firstToken: [(number | null)[], (number | null)[]];
  gap: [(number | null)[], (number | null)[]];
  queue: [(number | null)[], (number | null)[]];
}

const NO_CURVES: Curves = {
  times: [],
  generation: [],
  prompt: [],
  firstToken: [[], []],
  gap: [[], []],
  queue: [[], []],
};

class Live {
  lanes = $state.raw<readonly Lane[]>([]);
  metrics = $state.raw<Metrics | null>(null);
  curves = $state.raw<Curves>(NO_CURVES);
  /** Seconds of the Unix epoch, of the last look at the slots. */
  now = $state(0);
  /** Whether the last look failed. */
  isLost = $state(false);
  #looks: Look[] = [];

  /** Look from now on; returns what ends it. */
  watch(): () => void {
    let isOver = false;
    const repeat = async (every: number, act: () => Promise<void>) => {
      while (!isOver) {
        if (!document.hidden && server.health === "ready") await act().catch(() => (this.isLost = true));
        await new Promise((resolve) => setTimeout(resolve, every));
      }
    };
    void repeat(SLOTS_MS, () => this.#lookAtSlots());
    void repeat(METRICS_MS, () => this.#lookAtMetrics());
    return () => (isOver = true);
  }

  async #lookAtSlots(): Promise<void> {
    if (!server.props.endpoint_slots) return;
    const slots = await server.slots();
    this.isLost = false;
    this.now = Date.now() / 1000;
    this.lanes = look(this.lanes, slots, this.now);
  }

  async #lookAtMetrics(): Promise<void> {
    if (!server.props.endpoint_metrics) return;
    const metrics = readMetrics(await server.metrics());
    this.isLost = false;
    const at = Date.now() / 1000;
    const before = this.#looks.at(-1);
    this.metrics = metrics;
    this.#looks = [...this.#looks, { at, metrics }].slice(-KEPT);
    if (before && at - before.at > GAP_S) this.curves = extend(this.curves, at - 1, nothing());
    this.curves = extend(this.curves, at, this.#values(before, { at, metrics }));
  }

  #values(before: Look | undefined, { at, metrics }: Look): Values {
    const isNear = before && at - before.at <= GAP_S;
    const grown = (name: string) => (isNear ? rate(before.metrics.get(name), metrics.get(name), at - before.at) : null);
    const old = this.#looks.find((look) => look.at >= at - WINDOW_S)?.metrics;
    const both = (name: string): [number | null, number | null] => [
      quantile(old, metrics, name, 0.5),
      quantile(old, metrics, name, 0.95),
    ];
    return {
      generation: grown("llamacpp:tokens_predicted_total"),
      prompt: grown("llamacpp:prompt_tokens_total"),
      firstToken: both("llamahttp:time_to_first_token_seconds"),
      gap: both("llamahttp:inter_token_seconds"),
      queue: both("llamahttp:queue_seconds"),
    };
  }

  /** A counter or gauge; 0 where the server has none. */
  value(name: string): number {
    return this.metrics?.get(name) ?? 0;
  }

  /** The values of a metric by its label. */
  parts(name: string): Map<string, number> {
    return this.metrics ? byLabel(this.metrics, name) : new Map<string, number>();
  }

  total(name: string): number {
    return sum(this.parts(name).values());
  }
}

type Pair = [number | null, number | null];

interface Values {
  generation: number | null;
  prompt: number | null;
  firstToken: Pair;
  gap: Pair;
  queue: Pair;
}

function nothing(): Values {
  const none: Pair = [null, null];
  return { generation: null, prompt: null, firstToken: none, gap: none, queue: none };
}

function extend(curves: Curves, at: number, values: Values): Curves {
  const add = <T>(list: T[], value: T) => [...list, value].slice(-KEPT);
  const addPair = (lists: Curves["gap"], [median, high]: Pair): Curves["gap"] => [
    add(lists[0], median),
    add(lists[1], high),
  ];
  return {
    times: add(curves.times, at),
    generation: add(curves.generation, values.generation),
    prompt: add(curves.prompt, values.prompt),
    firstToken: addPair(curves.firstToken, values.firstToken),
    gap: addPair(curves.gap, values.gap),
    queue: addPair(curves.queue, values.queue),
  };
}

export const live = new Live();
