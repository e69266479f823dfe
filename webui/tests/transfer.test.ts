import { expect, test } from "vitest";
import { newConversation, newMessage } from "../src/lib/model";
import { fromJson, NotAnExport, toJson, toMarkdown } from "../src/lib/transfer";
import { branch } from "../src/lib/tree";

function conversation() {
  const made = newConversation({ title: "A title", system: "Be brief." });
  const conversationId = made.id;
  const question = newMessage({ conversationId, parentId: null, role: "user", content: "Why?" });
  const first = newMessage({ conversationId, parentId: question.id, role: "assistant", content: "So.", model: "m" });
  const second = newMessage({ conversationId, parentId: question.id, role: "assistant", content: "Because.", model: "m" });
  return { conversation: { ...made, leaf: first.id }, messages: [question, first, second], contents: [] };
}

test("what is exported comes back, with every branch, under new names", () => {
  const original = conversation();
  const [read] = fromJson(toJson([original]));
  expect(read!.conversation).toMatchObject({ title: "A title", system: "Be brief." });
  expect(read!.conversation.id).not.toBe(original.conversation.id);
  expect(branch(read!.messages, read!.conversation.leaf).map(({ content }) => content)).toEqual(["Why?", "So."]);
  expect(read!.messages).toHaveLength(3);
  expect(read!.messages.every(({ conversationId }) => conversationId === read!.conversation.id)).toBe(true);
});

test("an answer that was being written when it was exported does not wait for ever", () => {
  const original = conversation();
  original.messages[1]!.status = "writing";
  expect(fromJson(toJson([original]))[0]!.messages[1]!.status).toBe("stopped");
});

test.each([
  ["text", "not JSON"],
  ["{}", "no conversations of this page"],
  ['{"format":"llamahttp-conversations","version":9,"conversations":[]}', "version is 9"],
  ['{"format":"llamahttp-conversations","version":1,"conversations":[7]}', "damaged"],
  ['{"format":"llamahttp-conversations","version":1,"conversations":{}}', "damaged"],
])("%s is refused", (text, reason) => {
  expect(() => fromJson(text)).toThrow(NotAnExport);
  expect(() => fromJson(text)).toThrow(reason);
});

test("fields of a wrong kind become empty, they are not believed", () => {
  const file = { format: "llamahttp-conversations", version: 1, conversations: [{ conversation: { title: 7 }, messages: [{ id: "x", role: "root", content: {}, toolCalls: [{}], cost: "much" }] }] };
  const [read] = fromJson(JSON.stringify(file));
  expect(read!.conversation.title).toBe("");
  expect(read!.messages[0]).toMatchObject({ role: "assistant", content: "", toolCalls: [{ name: "" }], cost: null });
  expect(read!.conversation.leaf).toBe(read!.messages[0]!.id);
});

test("as Markdown the branch that is shown can be read", () => {
  expect(toMarkdown(conversation(), "You")).toBe("# A title\n\n## You\n\nWhy?\n\n## m\n\nSo.\n");
});

test("attachments come back with what is in them, under new names", () => {
  const original = conversation();
  const attachment = { id: "f", name: "a.png", kind: "image", type: "image/png", size: 3 } as const;
  original.messages[0]!.attachments = [attachment];
  const contents = [{ id: "f", conversationId: original.conversation.id, data: "AAAA" }];
  const [read] = fromJson(toJson([{ ...original, contents }]));
  const [carried] = read!.messages[0]!.attachments;
  expect(carried).toMatchObject({ name: "a.png", kind: "image", size: 3 });
  expect(carried!.id).not.toBe("f");
  expect(read!.contents).toEqual([{ id: carried!.id, conversationId: read!.conversation.id, data: "AAAA" }]);
  expect(toMarkdown({ ...original, contents }, "You")).toContain("## You\n\n- a.png\n\nWhy?");
});

test("the form of answers comes back", () => {
  const original = conversation();
  original.conversation.format = { kind: "grammar", schema: "{}", grammar: "root ::= x" };
  expect(fromJson(toJson([original]))[0]!.conversation.format).toEqual(original.conversation.format);
});
