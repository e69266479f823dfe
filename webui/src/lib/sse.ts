/** Server-sent events: bytes to the JSON of each event. */

export interface ServerEvent {
  type: string;
  data: string;
}

/** Takes text in any pieces and returns the events that are complete. */
export class EventParser {
  #rest = "";
  #type = "";
  #data: string[] = [];

  push(text: string): ServerEvent[] {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.#take(line.endsWith("\r") ? line.slice(0, -1) : line));
  }

  #take(line: string): ServerEvent[] {
    if (line === "") return this.#end();
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (field === "data" || field === "error") this.#data.push(value ?? "");
    if (field === "error") this.#type = "error"; // llama-server's own form: `error: {...}`
    if (field === "event") this.#type = value ?? "";
    return [];
  }

  #end(): ServerEvent[] {
    const event = { type: this.#type || "message", data: this.#data.join("\n") };
    this.#type = "";
    this.#data = [];
    return event.data ? [event] : [];
  }
}
