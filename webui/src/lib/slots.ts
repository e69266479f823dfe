/** Slots as `/slots` shows them, and what becomes of them from look to look. */

/** Counts of tokens. Fields that only this server has may be missing. */
export interface Slot {
  id: number;
  n_ctx: number;
  is_processing: boolean;
  id_task?: number;
  state?: string;
  /** In the context's memory. */
  n_prompt_tokens?: number;
  n_prompt_tokens_processed?: number;
  n_prompt_tokens_cache?: number;
  next_token?: { n_decoded?: number; n_remain?: number }[];
  cache?: { resident: number; ram: number; disk: number; miss: string };
  n_preempted?: number;
}

export const STAGES = ["idle", "waiting", "prompt", "generating", "busy"] as const;
export type Stage = (typeof STAGES)[number];

/** A slot was in a stage from one look to another; times in seconds of any clock. */
export interface Span {
  stage: Stage;
  /** The task that it was about; an idle slot has none. */
  task: number;
  from: number;
  to: number;
}

export interface Lane {
  slot: Slot;
  stage: Stage;
  /** What its context holds: tokens that were cached, computed, and generated. */
  cached: number;
  computed: number;
  generated: number;
  /** Tokens/s of what it does now; null where it does nothing, or has only begun. */
  speed: number | null;
  /** What it did, the oldest first. */
  spans: readonly Span[];
}

export function stageOf({ is_processing: isBusy, state }: Slot): Stage {
  if (!isBusy) return "idle";
  return STAGES.find((stage) => stage === state) ?? "busy";
}

/** Seconds that are kept of each slot. */
export const KEPT_S = 120;
/** A longer time between two looks is a gap: nobody knows what the slot did. */
const GAP_S = 5;
/** How much the newest speed counts, so that the number can be read. */
const WEIGHT = 0.4;

/** The lanes at `now`, when the last look gave `before`. */
export function look(before: readonly Lane[], slots: readonly Slot[], now: number): Lane[] {
  const known = new Map(before.map((lane) => [lane.slot.id, lane]));
  return slots.map((slot) => laneOf(slot, known.get(slot.id), now));
}

function laneOf(slot: Slot, last: Lane | undefined, now: number): Lane {
  const stage = stageOf(slot);
  const cached = slot.n_prompt_tokens_cache ?? 0;
  const computed = slot.n_prompt_tokens_processed ?? 0;
  const generated = slot.next_token?.[0]?.n_decoded ?? 0;
  const lane = { slot, stage, cached, computed, generated };
  return { ...lane, speed: speedOf(lane, last, now), spans: spansOf(slot, stage, last?.spans ?? [], now) };
}

function speedOf({ slot, stage, computed, generated }: Omit<Lane, "speed" | "spans">, last: Lane | undefined, now: number) {
  const isSame = last?.stage === stage && last.slot.id_task === slot.id_task;
  const seconds = now - (last?.spans.at(-1)?.to ?? now);
  if (!isSame || seconds <= 0 || seconds > GAP_S) return null;
  if (stage !== "prompt" && stage !== "generating") return null;
  const grown = stage === "prompt" ? computed - last.computed : generated - last.generated;
  const speed = Math.max(0, grown) / seconds;
  return last.speed === null ? speed : WEIGHT * speed + (1 - WEIGHT) * last.speed;
}

function spansOf(slot: Slot, stage: Stage, spans: readonly Span[], now: number): Span[] {
  const task = stage === "idle" ? -1 : (slot.id_task ?? -1);
  const kept = spans.filter(({ to }) => to >= now - KEPT_S);
  const last = kept.at(-1);
  if (!last || now - last.to > GAP_S) return [...kept, { stage, task, from: now, to: now }];
  if (last.stage === stage && last.task === task) return [...kept.slice(0, -1), { ...last, to: now }];
  // What happened between two looks is taken for what the second one saw.
  return [...kept, { stage, task, from: last.to, to: now }];
}
