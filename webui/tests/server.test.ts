import { expect, test, vi } from "vitest";

test("of two attempts to connect the later one counts, whichever ends first", async () => {
  vi.stubGlobal("localStorage", { getItem: () => null, setItem: () => undefined });
  const { server } = await import("../src/state/server.svelte");
  let refuse = (_: Response) => {};
  const late = new Promise<Response>((resolve) => (refuse = resolve));
  const answers = [() => late, async () => new Response("{}")];
  vi.stubGlobal("fetch", () => (answers.length > 1 ? answers.shift()! : answers[0]!)());
  const first = server.connect();
  await server.connect();
  expect(server.health).toBe("ready");
  refuse(new Response("{}", { status: 401 }));
  await first;
  expect(server.health).toBe("ready");
});
