/** The tools that a model may call from this browser, kept by it. */

import { newId, type ToolCall, type ToolResult } from "../lib/model";
import { runCode } from "../lib/sandbox";
import { definitionsOf, faultOf, fromServer, readArguments, serverResult, type Tool } from "../lib/tools";
import { strings } from "../strings";
import { server } from "./server.svelte";

const KEY = "llamahttp.tools";

function load(): Tool[] {
  try {
    const list = JSON.parse(localStorage.getItem(KEY) ?? "[]") as unknown;
    return Array.isArray(list) ? (list as Tool[]) : [];
  } catch {
    return [];
  }
}

class Tools {
  list = $state.raw<readonly Tool[]>(load());
  readonly offered = $derived(definitionsOf(this.list));

  constructor() {
    addEventListener("storage", ({ key }) => {
      if (key === KEY) this.list = load();
    });
  }

  add(fields: Partial<Tool>): Tool {
    const parameters = JSON.stringify({ type: "object", properties: {}, additionalProperties: false }, null, 2);
    const base = { id: newId(), source: "browser", name: "", description: "", parameters, code: "" } as const;
    const tool: Tool = { ...base, isOn: true, asks: false, ...fields };
    this.#keep([...this.list, tool]);
    return tool;
  }

  change(id: string, fields: Partial<Tool>): void {
    this.#keep(this.list.map((tool) => (tool.id === id ? { ...tool, ...fields } : tool)));
  }

  remove(id: string): void {
    this.#keep(this.list.filter((tool) => tool.id !== id));
  }

  /** Ask the server for its tools; those that are gone there are gone here, new ones are off. */
  async refresh(): Promise<void> {
    const given = (await server.tools()).map(fromServer);
    const mine = this.list.filter(({ source }) => source === "browser");
    const theirs = given.map((tool): Tool => {
      const known = this.list.find(({ source, name }) => source === "server" && name === tool.name);
      return { id: known?.id ?? newId(), isOn: known?.isOn ?? false, ...tool };
    });
    this.#keep([...mine, ...theirs]);
  }

  /** What a call gives; a fault is a result too, which the model can do better after. */
  async run(call: ToolCall, signal: AbortSignal): Promise<ToolResult> {
    const began = performance.now();
    const failed = (text: string): ToolResult => ({ text, isError: true, ms: performance.now() - began });
    const tool = this.list.find(({ name, isOn }) => isOn && name === call.name);
    if (!tool || faultOf(tool, this.list)) return failed(strings.tools.unknown(call.name));
    let args: Record<string, unknown>;
    try {
      args = readArguments(call.arguments);
    } catch (error) {
      return failed(strings.tools.badArguments(String(error)));
    }
    if (tool.asks && !confirm(strings.tools.allow(tool.name, JSON.stringify(args, null, 2)))) {
      return failed(strings.tools.refused);
    }
    if (tool.source === "browser") return runCode(tool.code, args, { signal, endings: strings.tools.endings });
    try {
      return { ...serverResult(await server.callTool(tool.name, args, signal)), ms: performance.now() - began };
    } catch (error) {
      return failed(error instanceof Error ? error.message : String(error));
    }
  }

  #keep(list: readonly Tool[]): void {
    this.list = list;
    localStorage.setItem(KEY, JSON.stringify(list));
  }
}

export const tools = new Tools();
