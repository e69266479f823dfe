import "fake-indexeddb/auto";
import { beforeEach, expect, test, vi } from "vitest";
import { newConversation, newMessage, type Message } from "../src/lib/model";

/** What a browser has around the page. */
function browser(): void {
  const kept = new Map<string, string>();
  const storage = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  };
  vi.stubGlobal("localStorage", storage);
  vi.stubGlobal("sessionStorage", storage);
  vi.stubGlobal("addEventListener", () => undefined);
  vi.stubGlobal("location", { hash: "" });
}

type Body = { messages: { role: string; content: string }[]; tools?: unknown };

/** A server that answers each request with the next of these deltas; gives the bodies of the requests. */
function server(...deltas: object[]): Body[] {
  const bodies: Body[] = [];
  vi.stubGlobal("fetch", async (path: string, init: RequestInit = {}) => {
    if (!path.includes("chat/completions")) return new Response("{}");
    const delta = deltas[Math.min(bodies.length, deltas.length - 1)];
    bodies.push(JSON.parse(String(init.body)) as Body);
    return new Response(`data: ${JSON.stringify({ choices: [{ delta }] })}\n\ndata: [DONE]\n\n`);
  });
  return bodies;
}

/** The page as it is at first, with nothing stored. */
async function page() {
  const [{ chat }, { store }, { tools }] = await Promise.all([
    import("../src/state/chat.svelte"),
    import("../src/state/store"),
    import("../src/state/tools.svelte"),
  ]);
  [chat.id, chat.stored, chat.writing, tools.list] = [null, [], {}, []];
  await store.removeAll();
  return { chat, store, tools };
}

const CALL = { tool_calls: [{ index: 0, id: "1", function: { name: "look", arguments: "{}" } }] };

/** A conversation with a question, stored, and a tool that opens another conversation while it runs. */
async function leaving() {
  const { chat, store, tools } = await page();
  const conversation = newConversation({ system: "Be brief." });
  const conversationId = conversation.id;
  const question = newMessage({ conversationId, parentId: null, role: "user", content: "Look!" });
  const call = { id: "1", name: "look", arguments: "{}" };
  const answer = newMessage({ conversationId, parentId: question.id, role: "assistant", toolCalls: [call] });
  await store.conversations.add(conversation);
  await store.append(question);
  await store.append(answer);
  tools.add({ name: "look", code: "return 1;" });
  tools.run = async () => {
    chat.id = "another";
    return { text: "seen", isError: false, ms: 1 };
  };
  return { chat, store, answer, conversationId };
}

const answersOf = (messages: Message[]) => messages.filter(({ role }) => role === "assistant");

beforeEach(browser);

test("an answer after a tool is one of its own conversation, whichever is shown meanwhile", async () => {
  const bodies = server({ content: "Done." });
  const { chat, store, answer, conversationId } = await leaving();
  await chat.runTools(answer);
  expect(bodies[0]!.messages[0]).toEqual({ role: "system", content: "Be brief." });
  expect(answersOf(await store.messagesOf(conversationId)).map(({ content }) => content).sort()).toEqual(["", "Done."]);
});

test("a model that only calls tools is ended, also when another conversation is shown", async () => {
  const bodies = server(CALL);
  const { chat, answer } = await leaving();
  await chat.runTools(answer);
  expect(bodies.length).toBe(19); // with the stored one 20 answers below the question
});

test("an answer is written while another conversation's is", async () => {
  const bodies = server({ content: "Done." });
  const { chat, answer } = await leaving();
  const other = newMessage({ conversationId: "another", parentId: null, role: "assistant" });
  chat.writing = { [other.id]: { message: other, progress: null, attempts: 0, abort: new AbortController() } };
  await chat.runTools(answer);
  expect(bodies).toHaveLength(1);
});

test("a question in a conversation that another tab has deleted begins a new one", async () => {
  server({ content: "Hi." });
  const { chat, store } = await page();
  chat.id = "deleted";
  await chat.send("Hello!");
  const [made] = await store.list();
  expect(made).toMatchObject({ id: chat.id, title: "Hello!" });
  expect((await store.messagesOf(made!.id)).map(({ content }) => content).sort()).toEqual(["Hello!", "Hi."]);
});

test("a question follows what the conversation ends with, also before that is shown", async () => {
  server({ content: "Hi." });
  const { chat, store, answer, conversationId } = await leaving();
  chat.id = conversationId;
  await chat.send("And now?");
  const asked = (await store.messagesOf(conversationId)).find(({ content }) => content === "And now?");
  expect(asked!.parentId).toBe(answer.id);
});

test("a question that cannot be stored is an error, and an answer that cannot be leaves nothing running", async () => {
  server({ content: "Hi." });
  const { chat, store } = await page();
  const full = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  store.messages.hook("creating", full);
  await expect(chat.send("Hello!")).rejects.toThrow("full");
  store.messages.hook("creating").unsubscribe(full);
  store.messages.hook("updating", full);
  await chat.send("Hello!");
  store.messages.hook("updating").unsubscribe(full);
  expect(chat.writing).toEqual({});
});
