import "fake-indexeddb/auto";
import { Dexie } from "dexie";
import { beforeEach, describe, expect, test } from "vitest";
import { newConversation, newMessage, NO_FORMAT } from "../src/lib/model";
import { Store } from "../src/state/store";

let store: Store;
const made = newConversation({ title: "Llamas" });
const conversationId = made.id;
const question = newMessage({ conversationId, parentId: null, role: "user", content: "What is wool?", createdAt: 1 });
const first = newMessage({ conversationId, parentId: question.id, role: "assistant", content: "Hair.", createdAt: 2 });
const second = newMessage({ conversationId, parentId: question.id, role: "assistant", content: "Soft.", createdAt: 3 });

beforeEach(async () => {
  store = new Store(`test-${Math.random()}`);
  await store.conversations.add(made);
  for (const message of [question, first, second]) await store.append(message);
});

test("what is appended is shown and makes its conversation the newest", async () => {
  await store.conversations.add(newConversation({ title: "Old", updatedAt: 2 }));
  const [newest] = await store.list();
  expect(newest).toMatchObject({ title: "Llamas", leaf: second.id, updatedAt: 3 });
});

test("of several tabs that follow a stream, the first that ends it has the last word", async () => {
  await store.messages.update(first.id, { stream: "s", status: "writing" });
  const stopped = await store.write(first.id, "s", { stream: "", status: "stopped", content: "Hai" });
  expect(stopped).toMatchObject({ status: "stopped", content: "Hai" });
  expect(await store.write(first.id, "s", { stream: "", status: "failed", content: "H" })).toEqual(stopped);
  expect(await store.write("gone", "s", { content: "H" })).toBeUndefined();
});

test("search looks into titles and messages, whatever the case", async () => {
  expect([...(await store.search("LLAMA"))]).toEqual([conversationId]);
  expect([...(await store.search("wool"))]).toEqual([conversationId]);
  expect(await store.search("goat")).toEqual(new Set());
});

test("a branch that is removed leaves the version beside it", async () => {
  await store.removeBranch(second);
  expect((await store.list())[0]!.leaf).toBe(first.id);
  await store.removeBranch(question);
  expect((await store.list())[0]!.leaf).toBeNull();
  expect(await store.messagesOf(conversationId)).toEqual([]);
});

test("a conversation goes with its messages", async () => {
  await store.removeConversation(conversationId);
  expect(await store.list()).toEqual([]);
  expect(await store.messages.count()).toBe(0);
});

test("an export holds everything", async () => {
  const [exported] = await store.exported();
  expect(exported!.messages).toHaveLength(3);
});

describe("what is in attachments", () => {
  const attachment = { id: "f", name: "Wool.txt", kind: "text", type: "text/plain", size: 1 } as const;
  const content = { id: "f", conversationId, data: "x" };
  const asked = newMessage({ conversationId, parentId: null, role: "user", attachments: [attachment], createdAt: 4 });
  const edited = { ...asked, id: "edited", createdAt: 5 };

  test("is stored with the message, found by name and exported", async () => {
    await store.append(asked, [content]);
    expect(await store.contentsOf([asked])).toEqual(new Map([["f", "x"]]));
    expect([...(await store.search("wool.TXT"))]).toEqual([conversationId]);
    expect((await store.exported())[0]!.contents).toEqual([content]);
  });
  test("stays as long as a version of the question carries it", async () => {
    await store.append(asked, [content]);
    await store.append(edited);
    await store.removeBranch(asked);
    expect(await store.contents.count()).toBe(1);
    await store.removeBranch(edited);
    expect(await store.contents.count()).toBe(0);
  });
  test("goes with the conversation", async () => {
    await store.append(asked, [content]);
    await store.removeConversation(conversationId);
    expect(await store.contents.count()).toBe(0);
  });
});

test("a database of before attachments is read", async () => {
  const name = `old-${Math.random()}`;
  const old = new Dexie(name);
  old.version(1).stores({ conversations: "id, updatedAt", messages: "id, conversationId, status" });
  await old.table("conversations").add({ id: "c", title: "Old", system: "", leaf: "m", createdAt: 1, updatedAt: 1 });
  await old.table("messages").add({ id: "m", conversationId: "c", parentId: null, role: "user", content: "Hi" });
  old.close();
  const now = new Store(name);
  expect((await now.list())[0]!.format).toEqual(NO_FORMAT);
  expect((await now.messagesOf("c"))[0]).toMatchObject({ attachments: [], format: null });
});

test("a conversation is read with the end of its shown branch, until it is gone", async () => {
  expect(await store.opened(conversationId)).toMatchObject({ leaf: second.id, messages: { length: 3 } });
  await store.removeConversation(conversationId);
  expect(await store.opened(conversationId)).toBeNull();
});
