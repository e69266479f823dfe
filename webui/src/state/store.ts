/** Conversations in the browser's own database; every tab sees what another one writes. */

import { Dexie, type EntityTable } from "dexie";
import type { Exported } from "../lib/transfer";
import type { Conversation, Message } from "../lib/model";
import { newestLeaf, subtree } from "../lib/tree";

export class Store extends Dexie {
  conversations!: EntityTable<Conversation, "id">;
  messages!: EntityTable<Message, "id">;

  constructor(name = "llamahttp") {
    super(name);
    this.version(1).stores({ conversations: "id, updatedAt", messages: "id, conversationId, status" });
  }

  /** The newest first. */
  list(): Promise<Conversation[]> {
    return this.conversations.orderBy("updatedAt").reverse().toArray();
  }

  messagesOf(conversationId: string): Promise<Message[]> {
    return this.messages.where({ conversationId }).toArray();
  }

  /** Conversations with `text` in their title or in a message. */
  async search(text: string): Promise<Set<string>> {
    const wanted = text.toLowerCase();
    const found = new Set<string>();
    await this.conversations.each(({ id, title }) => {
      if (title.toLowerCase().includes(wanted)) found.add(id);
    });
    await this.messages.each(({ conversationId, content }) => {
      if (content.toLowerCase().includes(wanted)) found.add(conversationId);
    });
    return found;
  }

  /** Add a message below its parent and show the branch that ends with it. */
  async append(message: Message): Promise<void> {
    await this.transaction("rw", this.conversations, this.messages, async () => {
      await this.messages.add(message);
      await this.show(message.conversationId, message.id, message.createdAt);
    });
  }

  async show(conversationId: string, leaf: string | null, updatedAt?: number): Promise<void> {
    await this.conversations.update(conversationId, { leaf, ...(updatedAt === undefined ? {} : { updatedAt }) });
  }

  /** Remove a message with all below it, and show what is left nearest to it. */
  async removeBranch(message: Message): Promise<void> {
    await this.transaction("rw", this.conversations, this.messages, async () => {
      const all = await this.messagesOf(message.conversationId);
      const gone = subtree(all, message.id);
      await this.messages.bulkDelete([...gone]);
      const left = all.filter(({ id }) => !gone.has(id));
      const sibling = left.filter(({ parentId }) => parentId === message.parentId).at(-1);
      await this.show(message.conversationId, sibling ? newestLeaf(left, sibling.id) : message.parentId);
    });
  }

  async removeConversation(id: string): Promise<void> {
    await this.transaction("rw", this.conversations, this.messages, async () => {
      await this.messages.where({ conversationId: id }).delete();
      await this.conversations.delete(id);
    });
  }

  async removeAll(): Promise<void> {
    await this.transaction("rw", this.conversations, this.messages, async () => {
      await this.messages.clear();
      await this.conversations.clear();
    });
  }

  async exported(ids?: readonly string[]): Promise<Exported[]> {
    const conversations = (await this.list()).filter(({ id }) => ids?.includes(id) ?? true);
    return Promise.all(
      conversations.map(async (conversation) => ({ conversation, messages: await this.messagesOf(conversation.id) })),
    );
  }

  async add(items: readonly Exported[]): Promise<void> {
    await this.transaction("rw", this.conversations, this.messages, async () => {
      await this.conversations.bulkAdd(items.map(({ conversation }) => conversation));
      await this.messages.bulkAdd(items.flatMap(({ messages }) => messages));
    });
  }
}

export const store = new Store();
