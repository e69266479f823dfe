/** The conversations: the one that is shown, and the answers that are being written. */

import { Dexie, liveQuery } from "dexie";
import { Answer, type Chunk, type Progress, type Written } from "../lib/answer";
import type { Draft } from "../lib/attach";
import type { Content, Conversation, Format, Message, Token } from "../lib/model";
import { newConversation, newId, newMessage, NO_FORMAT, titleOf } from "../lib/model";
import { pageOf } from "../lib/pages";
import { body, objectOf, type Options } from "../lib/request";
import { branch, newestLeaf, siblings } from "../lib/tree";
import { strings } from "../strings";
import { tools } from "./tools.svelte";
import { Forgotten, server, ServerError } from "./server.svelte";
import { settings } from "./settings.svelte";
import { store, type Opened } from "./store";

/** An answer that this tab draws while it is written. */
interface Writing {
  message: Message;
  progress: Progress | null;
  /** How often it was tried in vain to come back to the server. */
  attempts: number;
  abort: AbortController;
}

/** How often an answer is saved while it is written. */
const SAVE_MS = 500;
/** Tokens that are shown in the place of each, where their probabilities are asked for. */
const N_PROBABILITIES = 8;
/** Answers of a model that only calls tools, one after the other, until the reader is asked. */
const MAX_ROUNDS = 20;
/** Another tab may be about to begin an answer that is younger and has no stream yet. */
const STARTING_MS = 10_000;

type Read = (signal: AbortSignal, report: (attempts: number) => void) => AsyncGenerator<Chunk>;

class Chat {
  conversations = $state.raw<Conversation[]>([]);
  isLoaded = $state(false);
  /** The conversation that is shown; null is a new one, which is stored with its first message. */
  id = $state<string | null>(null);
  stored = $state.raw<Message[]>([]);
  /** The end of the branch that is shown; stored with the conversation, and read together with its messages. */
  leaf = $state<string | null>(null);
  writing = $state.raw<Record<string, Writing>>({});
  /** What a conversation that is not stored yet will have. */
  draft = $state.raw<Partial<Pick<Conversation, "system" | "format">>>({});

  readonly conversation = $derived(this.conversations.find(({ id }) => id === this.id) ?? null);
  readonly messages = $derived(this.stored.map((message) => this.writing[message.id]?.message ?? message));
  readonly shown = $derived(branch(this.messages, this.leaf));
  readonly system = $derived(this.conversation?.system ?? this.draft.system ?? settings.system);
  readonly format = $derived(this.conversation?.format ?? this.draft.format ?? NO_FORMAT);
  readonly running = $derived(this.#runningIn(this.id));
  #watching: { unsubscribe(): void } | undefined;

  /** Show what is stored, follow the address, and pick up answers that a reload has interrupted. */
  start(): void {
    liveQuery(() => store.list()).subscribe((list) => {
      this.conversations = list;
      this.isLoaded = true;
    });
    const follow = () => {
      if (!pageOf(location.hash)) this.open(/^#\/chat\/(\w+)$/.exec(location.hash)?.[1] ?? null);
    };
    addEventListener("hashchange", follow);
    follow();
    void this.#resumeAll();
  }

  open(id: string | null): void {
    const hash = id === null ? "#/" : `#/chat/${id}`;
    if (location.hash !== hash && (id !== null || location.hash !== "")) location.hash = hash;
    if (id === this.id) return;
    this.id = id;
    this.stored = [];
    this.leaf = null;
    this.draft = {};
    this.#watching?.unsubscribe();
    this.#watching = id === null ? undefined : liveQuery(() => store.opened(id)).subscribe((opened) => this.#show(id, opened));
  }

  /** Show what is stored of a conversation; a new one in place of one that was deleted, as by another tab. */
  #show(id: string, opened: Opened | null): void {
    if (id !== this.id) return;
    if (!opened) {
      this.#abandon((message) => message.conversationId === id);
      this.open(null);
      return;
    }
    this.stored = opened.messages;
    this.leaf = opened.leaf;
  }

  siblings(message: Message): Message[] {
    return siblings(this.messages, message);
  }

  // --- what a reader does

  /** Throws what the browser's database throws when it cannot store the question. */
  async send(text: string, files: readonly Draft[] = []): Promise<void> {
    const content = text.trim();
    if (!(content || files.length) || this.running) return;
    // Not what is shown: that may still be on its way, and another tab may have deleted the conversation.
    const known = this.id === null ? undefined : await store.conversations.get(this.id);
    const { id: conversationId, leaf: parentId } = known ?? (await this.#create(content || files[0]!.name));
    await this.#ask(newMessage({ conversationId, parentId, role: "user", content }), files);
  }

  /** Ask something else in place of a question: a branch beside it. */
  async edit(message: Message, content: string, files: readonly Draft[]): Promise<void> {
    const { conversationId, parentId } = message;
    await this.#ask(newMessage({ conversationId, parentId, role: "user", content: content.trim() }), files);
  }

  /** Change an answer in place, so that what follows builds on it. */
  async correct(message: Message, content: string): Promise<void> {
    await store.messages.update(message.id, { content });
  }

  /** Answer a question whose answer was deleted, or never began. */
  async answer(question: Message): Promise<void> {
    await this.#answer(question.conversationId, question.id);
  }

  /** Another answer to the same question. */
  async regenerate(message: Message): Promise<void> {
    if (message.parentId !== null) await this.#answer(message.conversationId, message.parentId);
  }

  /** Write on where an answer ended. */
  async proceed(message: Message): Promise<void> {
    if (!this.running) await this.#useTools(await this.#generate(message, true));
  }

  /** Another version of an answer, which begins with `content`. */
  async fork(message: Message, content: string, recorded: Token[]): Promise<void> {
    if (this.running) return;
    const { conversationId, parentId, model, format, reasoning, reasoningMs } = message;
    const begun = { model, format, reasoning, reasoningMs, content, tokens: recorded, status: "writing" } as const;
    const fork = newMessage({ conversationId, parentId, role: "assistant", ...begun });
    await store.append(fork);
    await this.#useTools(await this.#generate(fork, true));
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
    await this.#set({ system });
  }

  async setFormat(format: Format): Promise<void> {
    await this.#set({ format });
  }

  async #set(change: Chat["draft"]): Promise<void> {
    if (this.id === null) this.draft = { ...this.draft, ...change };
    else await store.conversations.update(this.id, change);
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

  #runningIn(conversationId: string | null): Writing | undefined {
    return Object.values(this.writing).find(({ message }) => message.conversationId === conversationId);
  }

  async #create(question: string): Promise<Conversation> {
    const conversation = newConversation({ title: titleOf(question), system: this.system, format: this.format });
    await store.conversations.add(conversation);
    this.conversations = await store.list();
    this.open(conversation.id);
    return conversation;
  }

  async #ask(question: Message, files: readonly Draft[]): Promise<void> {
    const { conversationId } = question;
    const attachments = files.map(({ data: _, ...attachment }) => attachment);
    const contents = files.flatMap(({ id, data }): Content[] => (data === null ? [] : [{ id, conversationId, data }]));
    await store.append({ ...question, attachments }, contents);
    await this.#answer(question.conversationId, question.id);
  }

  async #answer(conversationId: string, parentId: string): Promise<void> {
    if (this.#runningIn(conversationId)) return;
    const message = newMessage({ conversationId, parentId, role: "assistant", model: server.model, status: "writing" });
    await store.append(message);
    await this.#useTools(await this.#generate(message, false));
  }

  /** The conversation may be another than the one that is shown: the reader need not wait for tools. */
  async #generate(message: Message, resume: boolean): Promise<Message> {
    const conversation = await store.conversations.get(message.conversationId);
    const format = (resume ? message.format : conversation?.format) ?? NO_FORMAT;
    const { content, reasoning, reasoningMs, toolCalls, tokens: recorded } = message;
    const begin = { content, reasoning, reasoningMs, toolCalls, ...(recorded ? { tokens: recorded } : {}) };
    const begun = { format: format.kind === "text" ? null : format, stream: newId(), begin };
    return this.#write({ ...message, ...begun }, async function* (...line) {
      await store.messages.update(message.id, { ...begun, status: "writing", error: "" });
      const request = await requestFor(message, { system: conversation?.system ?? "", format, resume });
      yield* server.complete(begun.stream, request, ...line);
    });
  }

  /** Run what an answer calls, and let the model go on with the results. */
  async #useTools(message: Message): Promise<void> {
    const isAsked = message.status === "done" && message.toolCalls.length && tools.offered.length;
    if (!isAsked || (await this.#roundsBefore(message)) >= MAX_ROUNDS) return;
    await this.runTools(message);
  }

  /** How many answers stand one below the other down to this one, with nothing between them but results of tools. */
  async #roundsBefore({ id, conversationId }: Message): Promise<number> {
    const path = branch(await store.messagesOf(conversationId), id).reverse();
    const question = path.findIndex(({ role }) => role === "user");
    return question < 0 ? path.length : question;
  }

  /** Run the calls of an answer that have not been, and let the model go on. */
  async runTools(message: Message): Promise<void> {
    const abort = new AbortController();
    let current: Message = { ...message, status: "writing" };
    for (const [index, call] of message.toolCalls.entries()) {
      if (call.result) continue;
      this.writing = { ...this.writing, [message.id]: { message: current, progress: null, attempts: 0, abort } };
      const result = await tools.run(call, abort.signal);
      if (abort.signal.aborted) break;
      current = { ...current, toolCalls: current.toolCalls.with(index, { ...call, result }) };
    }
    const isStopped = abort.signal.aborted;
    await this.#finish({ ...current, status: isStopped ? "stopped" : "done" });
    if (!isStopped) await this.#answer(message.conversationId, message.id);
  }

  async #write(message: Message, read: Read): Promise<Message> {
    const abort = new AbortController();
    const answer = new Answer(message.begin ?? {});
    let attempts = 0;
    const draw = (end: Partial<Message> = { status: "writing", error: "" }) => {
      // A stream that is read anew from its beginning has told less, for a while, than was saved of it before.
      const isBehind = lengthOf(answer.written) < lengthOf(message);
      const drawn: Message = { ...message, ...(isBehind ? {} : answer.written), ...end };
      this.writing = { ...this.writing, [message.id]: { message: drawn, progress: answer.progress, attempts, abort } };
      return drawn;
    };
    draw();
    let end: Partial<Message> = { status: "done", error: "" };
    try {
      const report = (n: number) => {
        attempts = n;
        draw();
      };
      await follow(read(abort.signal, report), answer, draw);
    } catch (error) {
      end = this.#endOf(error, abort.signal.aborted, draw());
    }
    return this.#finish(draw({ ...end, stream: "", begin: null }), message.stream);
  }

  #endOf(error: unknown, isStopped: boolean, { stream, content, reasoning }: Message): Partial<Message> {
    if (isStopped) {
      server.cancel(stream).catch(() => undefined);
      return { status: "stopped", error: "" };
    }
    if (error instanceof Forgotten) {
      return { status: "failed", error: content || reasoning ? strings.forgotten : strings.neverArrived };
    }
    if (error instanceof Dexie.DexieError) return { status: "failed", error: strings.notStored };
    server.check(error);
    return { status: "failed", error: error instanceof ServerError ? error.message : strings.connectionLost };
  }

  /** Store the end of what `stream` wrote, or what another tab has stored as its end. */
  async #finish(message: Message, stream = message.stream): Promise<Message> {
    const failed: Message = { ...message, status: "failed", error: strings.notStored };
    const end = (await store.write(message.id, stream, message).catch(() => failed)) ?? message;
    this.stored = this.stored.map((other) => (other.id === end.id ? end : other));
    const { [end.id]: _, ...others } = this.writing;
    this.writing = others;
    return end;
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
    if (message.stream) await this.#write(message, (...line) => server.resume(message.stream, ...line));
    else if (Date.now() - message.createdAt > STARTING_MS) await this.#finish({ ...message, status: "stopped" });
  }
}

/** The body of the request for `message`: as the answer to what stands above it, or as one that goes on. */
async function requestFor(message: Message, given: Pick<Options, "system" | "format" | "resume">): Promise<unknown> {
  const all = await store.messagesOf(message.conversationId);
  const history = branch(all, given.resume ? message.id : message.parentId);
  return body(history, {
    ...given,
    parameters: settings.sent,
    custom: objectOf(settings.custom),
    contents: await store.contentsOf(history),
    think: server.canThink ? settings.think : null,
    tools: tools.offered,
    probabilities: settings.probabilities ? N_PROBABILITIES : 0,
  });
}

function lengthOf({ content, reasoning, toolCalls }: Pick<Written, "content" | "reasoning" | "toolCalls">): number {
  return content.length + reasoning.length + toolCalls.reduce((sum, call) => sum + call.arguments.length, 0);
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
    const { tokens: _, ...kept } = message; // its tokens, which are many, are saved at the end
    store.write(message.id, message.stream, kept).catch(() => undefined); // the end says so when it cannot be stored
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
