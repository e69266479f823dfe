/** Numbers and times for readers. */

export function duration(ms: number): string {
  if (ms < 950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

export function speed(tokensPerSecond: number): string {
  return tokensPerSecond >= 100 ? tokensPerSecond.toFixed(0) : tokensPerSecond.toFixed(1);
}

/** A whole number with its thousands apart. */
export function count(n: number): string {
  return n.toLocaleString("en");
}

/** A short time, in the unit that makes it short. */
export function seconds(s: number): string {
  if (s === 0) return "0";
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms`;
  return s < 100 ? `${s.toFixed(1)} s` : `${Math.round(s)} s`;
}

export function percent(part: number, whole: number): string {
  return whole > 0 ? `${Math.round((100 * part) / whole)}%` : "0%";
}

export function fileSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1 << 20 ? `${Math.round(bytes / 1024)} kB` : `${(bytes / (1 << 20)).toFixed(1)} MB`;
}

const DAY = 24 * 3600 * 1000;

export type Age = "today" | "yesterday" | "week" | "month" | "older";

/** How long ago by the reader's calendar; `now` and `time` in milliseconds of the Unix epoch. */
export function age(time: number, now: number): Age {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  if (time >= midnight) return "today";
  if (time >= midnight - DAY) return "yesterday";
  if (time >= midnight - 7 * DAY) return "week";
  return time >= midnight - 30 * DAY ? "month" : "older";
}

/** JSON with indentation, or the text as it is where it is none (yet). */
export function prettyJson(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
