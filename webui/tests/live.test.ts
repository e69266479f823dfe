import { expect, test } from "vitest";
import { byLabel, quantile, readMetrics, sum } from "../src/lib/metrics";
import { KEPT_S, look, type Slot } from "../src/lib/slots";

const slot = (fields: Partial<Slot> = {}): Slot => ({ id: 0, n_ctx: 100, is_processing: false, ...fields });
const writing = (n: number, id_task = 1) =>
  slot({ is_processing: true, state: "generating", id_task, next_token: [{ n_decoded: n }] });

test("a slot's speed is that of what it does now", () => {
  let lanes = look([], [writing(10)], 0);
  expect(lanes[0]).toMatchObject({ stage: "generating", generated: 10, speed: null });
  lanes = look(lanes, [writing(20)], 0.5);
  expect(lanes[0]!.speed).toBe(20);
  lanes = look(lanes, [writing(20)], 1);
  expect(lanes[0]!.speed).toBeCloseTo(12);
  lanes = look(lanes, [writing(5, 2)], 1.5);
  expect(lanes[0]!.speed).toBeNull();
});

test("a prompt's speed counts what is computed, not what was cached", () => {
  const reading = (n: number) =>
    slot({ is_processing: true, state: "prompt", n_prompt_tokens_processed: n, n_prompt_tokens_cache: 30 });
  const [lane] = look(look([], [reading(100)], 0), [reading(300)], 1);
  expect(lane).toMatchObject({ cached: 30, computed: 300, speed: 200 });
});

test("what a slot did is kept for a while", () => {
  let lanes = look([], [slot()], 0);
  lanes = look(lanes, [slot()], 1);
  lanes = look(lanes, [writing(1)], 2);
  lanes = look(lanes, [writing(1, 2)], 3);
  lanes = look(lanes, [slot()], 4);
  const spans = [
    { stage: "idle", task: -1, from: 0, to: 1 },
    { stage: "generating", task: 1, from: 1, to: 2 },
    { stage: "generating", task: 2, from: 2, to: 3 },
    { stage: "idle", task: -1, from: 3, to: 4 },
  ];
  expect(lanes[0]!.spans).toEqual(spans);
  lanes = look(lanes, [slot()], 60);
  expect(lanes[0]!.spans).toEqual([...spans, { stage: "idle", task: -1, from: 60, to: 60 }]);
  lanes = look(lanes, [slot()], KEPT_S + 2.5);
  expect(lanes[0]!.spans.map(({ to }) => to)).toEqual([3, 4, 60, KEPT_S + 2.5]);
});

test("a server that tells no stage is busy or idle", () => {
  expect(look([], [slot({ is_processing: true })], 0)[0]!.stage).toBe("busy");
  expect(look([], [slot()], 0)[0]!.stage).toBe("idle");
});

const histogram = (...counts: number[]) =>
  readMetrics(["0.1", "0.5", "+Inf"].map((bound, i) => `x:t_bucket{le="${bound}"} ${counts[i]}`).join("\n"));

test("quantiles are those of what was counted between two looks", () => {
  expect(quantile(undefined, histogram(0, 0, 0), "x:t", 0.5)).toBeNull();
  expect(quantile(undefined, histogram(10, 10, 10), "x:t", 0.5)).toBeCloseTo(0.05);
  expect(quantile(histogram(10, 10, 10), histogram(10, 20, 20), "x:t", 0.5)).toBeCloseTo(0.3);
  expect(quantile(histogram(10, 10, 10), histogram(10, 10, 11), "x:t", 0.5)).toBe(0.5);
  expect(quantile(histogram(10, 10, 10), histogram(4, 4, 4), "x:t", 1), "restarted").toBeCloseTo(0.1);
});

test("values by label", () => {
  const metrics = readMetrics('# HELP a b\na_total{tier="ram"} 2\na_total{tier="disk"} 3\nab{x="y"} 9\na{x="y",z="w"} 1');
  expect([...byLabel(metrics, "a_total")]).toEqual([
    ["ram", 2],
    ["disk", 3],
  ]);
  expect(sum(byLabel(metrics, "a_total").values())).toBe(5);
  expect(byLabel(metrics, "a").size).toBe(0);
});
