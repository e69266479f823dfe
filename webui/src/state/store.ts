/** Conversations in the browser's own database; every tab sees what another one writes. */

import { Dexie, type EntityTable } from "dexie";
import type { Exported } from "../lib/transfer";
import type { Content, Conversation, Message } from "../lib/model";
import { NO_FORMAT } from "../lib/model";
import { newestLeaf, subtree } from "../lib/tree";

export interface Opened {
  leaf: string | null;
  messages: Message[];
}

export class Store extends Dexie {
  conversations!: EntityTable<Conversation, "id">;
  messages!: EntityTable<Message, "id">;
  /** What is in attached files. Several messages may carry the same one: versions of a question. */
  contents!: EntityTable<Content, "id">;

  constructor(name = "llamahttp") {
    super(name);
    this.version(1).stores({ conversations: "id, updatedAt", messages: "id, conversationId, status" });
    this.version(2)
      .stores({ contents: "id, conversationId" })
      .upgrade(async (old) => {
        await old.table("conversations").toCollection().modify({ format: NO_FORMAT });
        await old.table("messages").toCollection().modify({ attachments: [], format: null });
      });
  }

  /** The newest first. */
  list(): Promise<Conversation[]> {
    return this.conversations.orderBy("updatedAt").reverse().toArray();
  }

  messagesOf(conversationId: string): Promise<Message[]> {
    return this.messages.where({ conversationId }).toArray();
  }

  /** A conversation's messages and the end of its shown branch, as they are at one moment; null when it is gone. */
  opened(id: string): Promise<Opened | null> {
    return this.transaction("r", this.conversations, this.messages, async () => {
      const conversation = await this.conversations.get(id);
      return conversation ? { leaf: conversation.leaf, messages: await this.messagesOf(id) } : null;
    });
  }

  /** Conversations with `text` in their title or in a message. */
  async search(text: string): Promise<Set<string>> {
    const wanted = text.toLowerCase();
    const found = new Set<string>();
    await this.conversations.each(({ id, title }) => {
      if (title.toLowerCase().includes(wanted)) found.add(id);
    });
    await this.messages.each(({ conversationId, content, attachments }) => {
      const texts = [content, ...attachments.map(({ name }) => name)];
      if (texts.some((text) => text.toLowerCase().includes(wanted))) found.add(conversationId);
    });
    return found;
  }

  /** Add a message below its parent, with what is in its new attachments, and show the branch that ends with it. */
  async append(message: Message, contents: readonly Content[] = []): Promise<void> {
    await this.transaction("rw", this.tables, async () => {
      await this.messages.add(message);
      await this.contents.bulkAdd(contents);
      await this.show(message.conversationId, message.id, message.createdAt);
    });
  }

  /** Change a message while `stream` writes it, and give what is stored then: several tabs may follow one stream, and
   * the first that ends it has the last word. */
  write(id: string, stream: string, changes: Partial<Message>): Promise<Message | undefined> {
    return this.transaction("rw", this.messages, async () => {
      await this.messages
        .where({ id })
        .filter((message) => message.stream === stream)
        .modify(changes);
      return this.messages.get(id);
    });
  }

  /** What is in the attachments of `messages`, by their ids. */
  async contentsOf(messages: readonly Message[]): Promise<Map<string, string>> {
    const ids = messages.flatMap(({ attachments }) => attachments.map(({ id }) => id));
    const found = await this.contents.bulkGet(ids);
    return new Map(found.flatMap((content) => (content ? [[content.id, content.data]] : [])));
  }

  async show(conversationId: string, leaf: string | null, updatedAt?: number): Promise<void> {
    await this.conversations.update(conversationId, { leaf, ...(updatedAt === undefined ? {} : { updatedAt }) });
  }

  /** Remove a message with all below it, and show what is left nearest to it. */
  async removeBranch(message: Message): Promise<void> {
    await this.transaction("rw", this.tables, async () => {
      const all = await this.messagesOf(message.conversationId);
      const gone = subtree(all, message.id);
      await this.messages.bulkDelete([...gone]);
      const left = all.filter(({ id }) => !gone.has(id));
      const carried = new Set(left.flatMap(({ attachments }) => attachments.map(({ id }) => id)));
      const { conversationId } = message;
      await this.contents.where({ conversationId }).filter(({ id }) => !carried.has(id)).delete();
      const sibling = left.filter(({ parentId }) => parentId === message.parentId).at(-1);
      await this.show(message.conversationId, sibling ? newestLeaf(left, sibling.id) : message.parentId);
    });
  }

  async removeConversation(id: string): Promise<void> {
    await this.transaction("rw", this.tables, async () => {
      await this.messages.where({ conversationId: id }).delete();
      await this.contents.where({ conversationId: id }).delete();
      await this.conversations.delete(id);
    });
  }

  async removeAll(): Promise<void> {
    await this.transaction("rw", this.tables, async () => {
      await this.messages.clear();
      await this.contents.clear();
      await this.conversations.clear();
    });
  }

  async exported(ids?: readonly string[]): Promise<Exported[]> {
    const conversations = (await this.list()).filter(({ id }) => ids?.includes(id) ?? true);
    return Promise.all(
      conversations.map(async (conversation) => ({
        conversation,
        messages: await this.messagesOf(conversation.id),
        contents: await this.contents.where({ conversationId: conversation.id }).toArray(),
      })),
    );
  }

  async add(items: readonly Exported[]): Promise<void> {
    await this.transaction("rw", this.tables, async () => {
      await this.conversations.bulkAdd(items.map(({ conversation }) => conversation));
      await this.messages.bulkAdd(items.flatMap(({ messages }) => messages));
      await this.contents.bulkAdd(items.flatMap(({ contents }) => contents));
    });
  }
}

export const store = new Store();
