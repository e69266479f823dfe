// The plain page: one conversation with the server that sent it. Whatever a model writes becomes text nodes, never HTML.

const KEY = "llamahttp.api_key";
const RETRY_MS = 1000;

const element = (id) => document.getElementById(id);
let messages = []; // {role, content} as the API wants them
let running = null; // AbortController of the answer that is being written
let ready = false;

class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// --- the server ---

async function request(path, options = {}) {
  const headers = { ...options.headers };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  const response = await fetch(path, { ...options, headers });
  if (!response.ok) throw new ServerError(response.status, await errorText(response));
  return response;
}

async function errorText(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error.message;
  } catch {
    return text || `${response.status} ${response.statusText}`;
  }
}

function complete(body, signal) {
  return request("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

/** The JSON of each event of a stream. An event that carries an error is thrown. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const field = /^(data|error): ?(.*)/.exec(line.trimEnd());
      if (!field || field[2] === "[DONE]") continue;
      const event = JSON.parse(field[2]);
      const error = event.error ?? (field[1] === "error" ? event : null);
      if (error) throw new ServerError(error.code, error.message);
      yield event;
    }
  }
}

// --- state ---

function showState(kind, text) {
  element("state").dataset.kind = kind;
  element("state").textContent = text;
  ready = kind === "good";
  updateButtons();
}

function updateButtons() {
  element("send").disabled = !ready || !element("text").value.trim();
  element("send").hidden = running !== null;
  element("stop").hidden = running === null;
  element("new").hidden = messages.length === 0;
  element("intro").hidden = element("chat").childElementCount > 0;
}

async function connect() {
  try {
    await request("health");
    showProps(await (await request("props")).json());
    showState("good", "Ready");
  } catch (error) {
    if (error.status === 401) return askForKey();
    if (!error.status) showState("bad", "No connection");
    else if (error.status === 503) showState("wait", error.message || "Loading model");
    else showState("bad", error.message);
    setTimeout(connect, RETRY_MS);
  }
}

function showProps(props) {
  const name = props.model_alias || props.model_path?.split(/[\\/]/).pop() || "llamahttp";
  element("model").textContent = name;
  element("model").title = props.model_path ?? "";
  document.title = name;
  element("thinking").hidden = !props.chat_template?.includes("enable_thinking");
}

function askForKey() {
  const wrong = sessionStorage.getItem(KEY) !== null;
  sessionStorage.removeItem(KEY);
  showState("bad", wrong ? "Wrong API key" : "API key needed");
  element("login").hidden = false;
  element("key").focus();
}

// --- messages ---

/** A new message at the end of the conversation, as functions that fill it. */
function addMessage(role) {
  const article = element("message-template").content.cloneNode(true).firstElementChild;
  const part = (selector) => article.querySelector(selector);
  const mine = role === "user";
  article.classList.toggle("mine", mine);
  part("h2").textContent = mine ? "You" : element("model").textContent;
  element("chat").append(article);
  return {
    remove: () => article.remove(),
    setBusy(busy) {
      article.classList.toggle("busy", busy);
      article.setAttribute("aria-busy", String(busy));
    },
    show({ thought, answer }, closed) {
      part(".thought").hidden = !thought;
      part(".thought").open ||= Boolean(thought) && !closed && !answer;
      fill(part(".thought .body"), thought);
      fill(part(".answer"), answer.trimStart());
    },
    foldThought: () => (part(".thought").open = false),
    showError(text) {
      article.classList.add("failed");
      part(".error").textContent = text;
      part(".error").hidden = false;
    },
    showCost(timings) {
      part(".cost").textContent = costText(timings);
      part(".cost").hidden = false;
    },
  };
}

/** Text with its fenced code blocks set apart. */
function fill(target, text) {
  const nodes = text.split(/^```.*\n([^]*?)(?:^```[ \t]*\n?|$(?![^]))/m).map((part, i) => {
    if (i % 2 === 0) return document.createTextNode(part);
    const block = document.createElement("pre");
    block.append(part.replace(/\n$/, ""));
    return block;
  });
  target.replaceChildren(...nodes.filter((node) => node.textContent));
}

function costText(timings) {
  const { predicted_n: n, predicted_per_second: speed, prompt_n: nComputed, cache_n: nCached = 0 } = timings;
  const parts = [n === 1 ? "1 token" : `${n} tokens`];
  if (n > 1 && speed) parts.push(`${speed.toFixed(1)} tokens/s`);
  parts.push(`prompt ${nComputed + nCached}${nCached ? ` (${nCached} from cache)` : ""}`);
  return parts.join(" · ");
}

// --- a turn ---

async function send() {
  const text = element("text").value.trim();
  if (!text || !ready || running) return;
  element("text").value = "";
  const mine = addMessage("user");
  mine.show({ thought: "", answer: text }, true);
  const answer = addMessage("assistant");
  messages.push({ role: "user", content: text });
  running = new AbortController();
  updateButtons();
  scrollDown(true);
  const error = await answerInto(answer, messages);
  running = null;
  if (error?.status === 401) {
    mine.remove();
    answer.remove();
    element("text").value ||= text;
    askForKey();
  } else if (error) {
    answer.showError(error.status ? error.message : "The connection to the server was lost.");
    if (!error.status || error.status === 503) connect();
  }
  updateButtons();
  scrollDown();
}

/** Streams the answer to `history` into a message and adds it. Returns the error that ended it, if one did. */
async function answerInto(message, history) {
  const canThink = !element("thinking").hidden;
  const written = { thought: "", answer: "" };
  const body = { messages: history, stream: true };
  if (canThink) body.chat_template_kwargs = { enable_thinking: element("think").checked };
  const paint = painter(() => message.show(written, false));
  message.setBusy(true);
  let failure = null;
  try {
    for await (const event of events(await complete(body, running.signal))) {
      const delta = event.choices?.[0]?.delta;
      written.answer += delta?.content ?? "";
      written.thought += delta?.reasoning_content ?? "";
      if (event.timings) message.showCost(event.timings);
      paint();
    }
  } catch (error) {
    if (error.name !== "AbortError") failure = error;
  }
  message.setBusy(false);
  finish(message, written, history);
  return failure;
}

/** Shows the whole answer and adds it to `history`; a question that got none is forgotten, it may be what failed. */
function finish(message, written, history) {
  message.show(written, true);
  if (written.answer) message.foldThought();
  if (written.answer || written.thought) history.push({ role: "assistant", content: written.answer });
  else history.pop();
}

/** Calls `draw` at most once a frame, however often the result is called. */
function painter(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      if (!running) return;
      draw();
      scrollDown();
    });
  };
}

/** Keeps the end in sight, unless the reader has scrolled up. */
function scrollDown(always = false) {
  const view = element("scroller");
  const distance = view.scrollHeight - view.scrollTop - view.clientHeight;
  if (always || distance < 160) view.scrollTop = view.scrollHeight;
}

// --- events ---

element("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
element("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
element("text").addEventListener("input", updateButtons);
element("stop").addEventListener("click", () => {
  running?.abort();
  element("text").focus();
});
element("new").addEventListener("click", () => {
  running?.abort();
  messages = [];
  element("chat").replaceChildren();
  updateButtons();
  element("text").focus();
});
element("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, element("key").value);
  element("key").value = "";
  element("login").hidden = true;
  connect();
  element("text").focus();
});

element("base").textContent = new URL("v1", location.href).href;
connect();
