/** The conversations: the one that is shown, and the answers that are being written. */

import { liveQuery } from "dexie";
import { Answer, type Chunk, type Progress } from "../lib/answer";
import type { Conversation, Message } from "../lib/model";
import { newConversation, newId, newMessage, titleOf } from "../lib/model";
import { body } from "../lib/request";
import { branch, newestLeaf, siblings } from "../lib/tree";
import { strings } from "../strings";
import { server, ServerError } from "./server.svelte";
import { settings } from "./settings.svelte";
import { store } from "./store";

/** An answer that this tab draws while it is written. */
interface Writing {
  message: Message;
  progress: Progress | null;
  abort: AbortController;
}

/** How often an answer is saved while it is written. */
const SAVE_MS = 500;
/** Another tab may be about to begin an answer that is younger and has no stream yet. */
const STARTING_MS = 10_000;

class Chat {
  conversations = $state.raw<Conversation[]>([]);
  isLoaded = $state(false);
  /** The conversation that is shown; null is a new one, which is stored with its first message. */
  id = $state<string | null>(null);
  stored = $state.raw<Message[]>([]);
  writing = $state.raw<Record<string, Writing>>({});
  /** The system prompt of a conversation that is not stored yet. */
  draftSystem = $state<string | null>(null);

  readonly conversation = $derived(this.conversations.find(({ id }) => id === this.id) ?? null);
  readonly messages = $derived(this.stored.map((message) => this.writing[message.id]?.message ?? message));
  readonly shown = $derived(branch(this.messages, this.conversation?.leaf ?? null));
  readonly system = $derived(this.conversation?.system ?? this.draftSystem ?? settings.system);
  readonly running = $derived(Object.values(this.writing).find(({ message }) => message.conversationId === this.id));
  #watching: { unsubscribe(): void } | undefined;

  /** Show what is stored, follow the address, and pick up answers that a reload has interrupted. */
  start(): void {
    liveQuery(() => store.list()).subscribe((list) => {
      this.conversations = list;
      this.isLoaded = true;
    });
    const follow = () => {
      if (location.hash !== "#/live") this.open(/^#\/chat\/(\w+)$/.exec(location.hash)?.[1] ?? null);
    };
    addEventListener("hashchange", follow);
    follow();
    void this.#resumeAll();
  }

  open(id: string | null): void {
    const hash = id === null ? "#/" : `#/chat/${id}`;
    if (location.hash !== hash && (id !== null || /^#\/chat/.test(location.hash))) location.hash = hash;
    if (id === this.id) return;
    this.id = id;
    this.stored = [];
    this.draftSystem = null;
    this.#watching?.unsubscribe();
    this.#watching =
      id === null
        ? undefined
        : liveQuery(() => store.messagesOf(id)).subscribe((messages) => {
            this.stored = messages;
          });
  }

  siblings(message: Message): Message[] {
    return siblings(this.messages, message);
  }

  // --- what a reader does

  async send(text: string): Promise<void> {
    const content = text.trim();
    if (!content || this.running) return;
    const conversationId = this.id ?? (await this.#create(content));
    const parentId = this.shown.at(-1)?.id ?? null;
    await this.#ask(newMessage({ conversationId, parentId, role: "user", content }));
  }

  /** Ask something else in place of a question: a branch beside it. */
  async edit(message: Message, content: string): Promise<void> {
    const { conversationId, parentId } = message;
    await this.#ask(newMessage({ conversationId, parentId, role: "user", content: content.trim() }));
  }

  /** Change an answer in place, so that what follows builds on it. */
  async correct(message: Message, content: string): Promise<void> {
    await store.messages.update(message.id, { content });
  }

  /** Another answer to the same question. */
  async regenerate(message: Message): Promise<void> {
    if (message.parentId !== null) await this.#answer(message.conversationId, message.parentId);
  }

  /** Write on where an answer ended. */
  async proceed(message: Message): Promise<void> {
    if (!this.running) await this.#generate(message, true);
  }

  async page(message: Message, step: number): Promise<void> {
    const all = this.siblings(message);
    const next = all[all.findIndex(({ id }) => id === message.id) + step];
    if (next) await store.show(message.conversationId, newestLeaf(this.messages, next.id));
  }

  stop(): void {
    this.running?.abort.abort();
  }

  async remove(message: Message): Promise<void> {
    await store.removeBranch(message);
  }

  async rename(id: string, title: string): Promise<void> {
    if (title.trim()) await store.conversations.update(id, { title: title.trim() });
  }

  async setSystem(system: string): Promise<void> {
    if (this.id === null) this.draftSystem = system;
    else await store.conversations.update(this.id, { system });
  }

  async removeConversation(id: string): Promise<void> {
    this.#abandon((message) => message.conversationId === id);
    if (id === this.id) this.open(null);
    await store.removeConversation(id);
  }

  async removeAll(): Promise<void> {
    this.#abandon(() => true);
    this.open(null);
    await store.removeAll();
  }

  // --- answers

  async #create(question: string): Promise<string> {
    const conversation = newConversation({ title: titleOf(question), system: this.system });
    await store.conversations.add(conversation);
    this.conversations = await store.list();
    this.open(conversation.id);
    return conversation.id;
  }

  async #ask(question: Message): Promise<void> {
    await store.append(question);
    await this.#answer(question.conversationId, question.id);
  }

  async #answer(conversationId: string, parentId: string): Promise<void> {
    if (this.running) return;
    const message = newMessage({ conversationId, parentId, role: "assistant", model: server.model, status: "writing" });
    await store.append(message);
    await this.#generate(message, false);
  }

  async #generate(message: Message, resume: boolean): Promise<void> {
    const all = await store.messagesOf(message.conversationId);
    const history = branch(all, resume ? message.id : message.parentId);
    const request = body(history, {
      system: this.system,
      parameters: settings.parameters,
      think: server.canThink ? settings.think : null,
      resume,
    });
    const { content, reasoning, reasoningMs, toolCalls } = message;
    const stream = newId();
    const begin = { content, reasoning, reasoningMs, toolCalls };
    await this.#write({ ...message, stream, begin }, (signal) => server.complete(stream, request, signal));
  }

  async #write(message: Message, read: (signal: AbortSignal) => AsyncGenerator<Chunk>): Promise<Message> {
    const abort = new AbortController();
    const answer = new Answer(message.begin ?? {});
    const draw = (end: Partial<Message> = { status: "writing", error: "" }) => {
      const drawn: Message = { ...message, ...answer.written, ...end };
      this.writing = { ...this.writing, [message.id]: { message: drawn, progress: answer.progress, abort } };
      return drawn;
    };
    const { stream, begin } = message;
    draw();
    await store.messages.update(message.id, { stream, begin, status: "writing", error: "" });
    let end: Partial<Message> = { status: "done", error: "" };
    try {
      await follow(read(abort.signal), answer, draw);
    } catch (error) {
      end = this.#endOf(error, abort.signal.aborted, stream);
    }
    return this.#finish(draw({ ...end, stream: "", begin: null }));
  }

  #endOf(error: unknown, isStopped: boolean, stream: string): Partial<Message> {
    if (isStopped) {
      server.cancel(stream).catch(() => undefined);
      return { status: "stopped", error: "" };
    }
    server.check(error);
    return { status: "failed", error: error instanceof ServerError ? error.message : strings.connectionLost };
  }

  async #finish(message: Message): Promise<Message> {
    await store.messages.update(message.id, { ...message });
    this.stored = this.stored.map((other) => (other.id === message.id ? message : other));
    const { [message.id]: _, ...others } = this.writing;
    this.writing = others;
    return message;
  }

  #abandon(isMeant: (message: Message) => boolean): void {
    for (const { message, abort } of Object.values(this.writing)) if (isMeant(message)) abort.abort();
  }

  /** Answers that were being written when their page went away: the server goes on writing them for a while. */
  async #resumeAll(): Promise<void> {
    const left = await store.messages.where({ status: "writing" }).toArray();
    await Promise.all(left.map((message) => this.#resume(message)));
  }

  async #resume(message: Message): Promise<void> {
    if (!message.stream && Date.now() - message.createdAt < STARTING_MS) return;
    const ended = await this.#write(message, (signal) => server.resume(message.stream, signal));
    if (ended.status !== "failed") return;
    // The server has forgotten it, or never had it: what was saved before is what there is.
    const { content, reasoning, reasoningMs, toolCalls } = ended.content.length > message.content.length ? ended : message;
    const left = { content, reasoning, reasoningMs, toolCalls, status: "stopped", error: "" } as const;
    await store.messages.update(message.id, left);
  }
}

/** Read all chunks into `answer`; draws at most once a frame, and saves now and then. */
async function follow(chunks: AsyncGenerator<Chunk>, answer: Answer, draw: () => Message): Promise<void> {
  let frame: ReturnType<typeof setTimeout> | undefined;
  let saved = performance.now();
  const paint = () => {
    frame = undefined;
    const message = draw();
    if (performance.now() - saved < SAVE_MS) return;
    saved = performance.now();
    void store.messages.update(message.id, { ...message });
  };
  try {
    for await (const chunk of chunks) {
      answer.add(chunk, performance.now());
      // Not requestAnimationFrame, which stands still in a tab that is not looked at.
      frame ||= setTimeout(paint, 16);
    }
  } finally {
    clearTimeout(frame);
  }
}

export const chat = new Chat();
