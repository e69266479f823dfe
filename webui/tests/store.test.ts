import "fake-indexeddb/auto";
import { beforeEach, expect, test } from "vitest";
import { newConversation, newMessage } from "../src/lib/model";
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
