/** Markdown to safe HTML, block by block, so that of an answer that grows only the last block is drawn again.
 *
 * The model's own HTML is shown as text; what markdown-it makes is sanitised once more, and the page's
 * Content-Security-Policy is the third wall. */

import DOMPurify from "dompurify";
import MarkdownIt from "markdown-it";
import type { StateBlock, StateInline, Token } from "markdown-it";
import { strings } from "../strings";
import { displayMath, inlineMath } from "./math";

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: false, typographer: false });
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
const { escapeHtml } = markdown.utils;

markdown.inline.ruler.before("escape", "math", (state: StateInline, silent: boolean) => {
  const found = inlineMath(state.src, state.pos);
  if (!found) return false;
  if (!silent) pushMath(state, found.tex, found.display);
  state.pos = found.end;
  return true;
});

markdown.block.ruler.before(
  "fence",
  "math",
  (state: StateBlock, startLine: number, endLine: number, silent: boolean) => {
    const found = displayMath(lines(state, startLine, endLine));
    if (!found) return false;
    if (silent) return true;
    pushMath(state, found.tex, true).block = true;
    state.line = startLine + found.lines;
    return true;
  },
  { alt: ["paragraph", "reference", "blockquote", "list"] },
);

/** `- [ ] open` and `- [x] done`. */
markdown.core.ruler.after("inline", "tasks", ({ tokens }) => {
  tokens.forEach((token, index) => {
    const [item, text] = [tokens[index - 2], token.children?.[0]];
    if (token.type !== "inline" || item?.type !== "list_item_open" || text?.type !== "text") return;
    const mark = /^\[([ xX])\](?=\s)/.exec(text.content);
    if (!mark) return;
    item.attrJoin("class", "task");
    text.content = (mark[1] === " " ? "☐" : "☑") + text.content.slice(mark[0].length);
  });
});

function* lines({ src, bMarks, tShift, eMarks }: StateBlock, from: number, to: number): Generator<string> {
  for (let index = from; index < to; index++) yield src.slice((bMarks[index] ?? 0) + (tShift[index] ?? 0), eMarks[index]);
}

function pushMath(state: StateInline | StateBlock, tex: string, display: boolean): Token {
  const token = state.push("math", "", 0);
  token.content = tex;
  token.meta = { display };
  return token;
}

const { rules } = markdown.renderer;

rules.math = (tokens, index) => {
  const { content, meta } = tokens[index]!;
  const [tag, kind] = meta?.display ? ["div", "display"] : ["span", "inline"];
  return `<${tag} class="math" data-math="${kind}">${escapeHtml(content)}</${tag}>`;
};

rules.fence = rules.code_block = (tokens, index) => {
  const { info, content } = tokens[index]!;
  const language = info.trim().split(/\s+/, 1)[0] ?? "";
  return (
    `<div class="code"><div class="code-head"><span>${escapeHtml(language)}</span>` +
    `<button type="button" class="copy" data-copy>${strings.copy}</button></div>` +
    `<pre tabindex="0"><code data-language="${escapeHtml(language.toLowerCase())}">${escapeHtml(content)}</code></pre></div>\n`
  );
};

rules.table_open = () => '<div class="table" tabindex="0"><table>';
rules.table_close = () => "</table></div>";

// Which side a column keeps to, as a class: the Content-Security-Policy lets no style through.
rules.th_open = rules.td_open = (tokens, index, options, _, self) => {
  const token = tokens[index]!;
  const side = /^text-align:(\w+)$/.exec(String(token.attrGet("style") ?? ""))?.[1];
  token.attrs = side ? [["class", `align-${side}`]] : null;
  return self.renderToken(tokens, index, options);
};

rules.link_open = (tokens, index, options, _, self) => {
  tokens[index]!.attrSet("target", "_blank");
  tokens[index]!.attrSet("rel", "noopener noreferrer");
  return self.renderToken(tokens, index, options);
};

// An image of the web would tell its server that it is being looked at; the reader decides, by following the link.
const image = rules.image!;
rules.image = (tokens, index, options, env, self) => {
  const token = tokens[index]!;
  const source = String(token.attrGet("src") ?? "");
  if (source.startsWith("data:image/")) return image(tokens, index, options, env, self);
  const text = escapeHtml(token.content || source);
  return `<a href="${escapeHtml(source)}" target="_blank" rel="noopener noreferrer">${text}</a>`;
};

const ALLOWED = {
  ALLOWED_TAGS: (
    "p h1 h2 h3 h4 h5 h6 em strong s code pre blockquote ul ol li hr br a img table thead tbody tr th td div span button"
  ).split(" "),
  ALLOWED_ATTR: "href src alt title class target rel type start tabindex data-math data-language data-copy".split(" "),
  ALLOW_DATA_ATTR: false,
};

/** HTML of each top-level block, not yet sanitised. */
export function toBlocks(text: string): string[] {
  const env = {};
  const tokens = markdown.parse(text, env);
  const blocks: string[] = [];
  let begin = 0;
  tokens.forEach((token, index) => {
    if (token.level !== 0 || token.nesting > 0) return;
    blocks.push(markdown.renderer.render(tokens.slice(begin, index + 1), markdown.options, env));
    begin = index + 1;
  });
  return blocks;
}

/** A block as nodes that cannot run anything. */
export function toNodes(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, { ...ALLOWED, RETURN_DOM_FRAGMENT: true });
}
