// Runs a tool of the reader. This page stands in a frame of its own origin, without storage, network and the page that
// it serves; the tool runs in a worker, so that it can be ended whatever it does.

/** What the worker runs; its text is its source. */
function work() {
  onmessage = async ({ data: { code, args } }) => {
    try {
      const run = new (async () => {}).constructor("args", `"use strict";\n${code}`);
      const value = await run(args);
      const text = typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? String(value));
      postMessage({ text, isError: false });
    } catch (error) {
      postMessage({ text: error instanceof Error ? `${error.name}: ${error.message}` : String(error), isError: true });
    }
  };
}

addEventListener("message", ({ data, source, ports: [port] }) => {
  if (source !== parent || !port) return;
  const worker = new Worker(URL.createObjectURL(new Blob([`(${work})()`], { type: "text/javascript" })));
  worker.onmessage = (event) => port.postMessage(event.data);
  worker.onerror = (event) => port.postMessage({ text: event.message || "The tool cannot be run.", isError: true });
  worker.postMessage(data);
});
