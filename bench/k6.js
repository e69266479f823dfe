// Chats over HTTP with k6: as many users as wanted, each asking again as soon as it was answered.
//
//   k6 run --vus 16 --duration 60s --out json=k6.json bench/k6.js
//   python bench/traffic.py k6.json
//
// Variables (k6 run -e NAME=value): URL, MODEL, API_KEY, N_PREDICT, PROMPT_WORDS.
//
// k6 gives an answer when it is complete, so the time of the first token is what is left of it without the time of
// generating, which the server tells (`timings`).

import http from "k6/http";
import { Counter, Rate, Trend } from "k6/metrics";

const URL = __ENV.URL || "http://127.0.0.1:8080";
const MODEL = __ENV.MODEL || "any";
const N_PREDICT = Number(__ENV.N_PREDICT || 128);
const PROMPT_WORDS = Number(__ENV.PROMPT_WORDS || 50);
const HEADERS = { "Content-Type": "application/json" };
if (__ENV.API_KEY) {
  HEADERS.Authorization = `Bearer ${__ENV.API_KEY}`;
}

const requestMs = new Trend("request_ms", true);
const ttftMs = new Trend("ttft_ms", true);
const gapMs = new Trend("gap_ms", true);
const tokens = new Counter("tokens");
const failed = new Rate("failed");

export const options = {
  thresholds: { failed: ["rate<0.01"] },
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
};

// No two prompts begin alike, so that no cache of prompts helps.
function prompt() {
  const words = [];
  for (let i = 0; i < PROMPT_WORDS; i++) {
    words.push(Math.random().toString(36).slice(2, 8));
  }
  return `${words.join(" ")}. Tell me a story.`;
}

// What the server measured, from the last event that has it.
export function timingsOf(body) {
  const events = body.split("\n\n").filter((event) => event.startsWith("data: {"));
  for (const event of events.reverse()) {
    const { timings } = JSON.parse(event.slice("data: ".length));
    if (timings) {
      return timings;
    }
  }
  return null;
}

export default function () {
  const body = JSON.stringify({
    model: MODEL,
    messages: [{ role: "user", content: prompt() }],
    max_tokens: N_PREDICT,
    stream: true,
    ignore_eos: true,
  });
  const answer = http.post(`${URL}/v1/chat/completions`, body, { headers: HEADERS, timeout: "600s" });
  const timings = answer.status === 200 ? timingsOf(answer.body) : null;
  failed.add(timings === null);
  if (timings === null) {
    return;
  }
  requestMs.add(answer.timings.duration);
  ttftMs.add(answer.timings.duration - timings.predicted_ms);
  if (timings.predicted_n > 1) {
    gapMs.add(timings.predicted_ms / (timings.predicted_n - 1));
  }
  tokens.add(timings.predicted_n);
}
