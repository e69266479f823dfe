/** Runs JavaScript of the reader where it reaches nothing: in a worker, within a frame of an origin of its own. */

import type { ToolResult } from "./model";

/** A tool that takes longer is ended. */
export const LIMIT_MS = 10_000;
/** Characters of a result; what is longer is cut, since a model has to read it. */
const MAX_TEXT = 100_000;

export interface Endings {
  tooLong: string;
  stopped: string;
  cut: string;
}

/** What `code` gives for `args`; never throws. `endings` are the words for a run that did not end by itself. */
export async function runCode(
  code: string,
  args: unknown,
  { limitMs = LIMIT_MS, signal, endings }: { limitMs?: number; signal?: AbortSignal; endings: Endings },
): Promise<ToolResult> {
  const began = performance.now();
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.hidden = true;
  frame.title = "";
  frame.src = "./sandbox.html";
  const { port1, port2 } = new MessageChannel();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const result = new Promise<Omit<ToolResult, "ms">>((resolve) => {
    const end = (text: string) => resolve({ text, isError: true });
    port1.onmessage = ({ data }) => resolve(read(data, endings));
    frame.onload = () => frame.contentWindow?.postMessage({ code, args }, "*", [port2]);
    timer = setTimeout(end, limitMs, endings.tooLong);
    signal?.addEventListener("abort", () => end(endings.stopped), { once: true });
    if (signal?.aborted) end(endings.stopped);
  });
  document.body.append(frame);
  try {
    return { ...(await result), ms: performance.now() - began };
  } finally {
    clearTimeout(timer);
    port1.close();
    frame.remove(); // and the worker with it
  }
}

function read(data: unknown, endings: Endings): Omit<ToolResult, "ms"> {
  const { text, isError } = (data ?? {}) as { text?: unknown; isError?: unknown };
  const whole = String(text);
  return {
    text: whole.length > MAX_TEXT ? `${whole.slice(0, MAX_TEXT)}\n${endings.cut}` : whole,
    isError: isError === true,
  };
}
