/** What is loaded when an answer needs it first: colours for code, layout of mathematics. */

import type { HLJSApi, LanguageFn } from "highlight.js";

type Module = Promise<{ default: LanguageFn }>;

const LANGUAGES: Record<string, () => Module> = {
  bash: () => import("highlight.js/lib/languages/bash"),
  c: () => import("highlight.js/lib/languages/c"),
  cpp: () => import("highlight.js/lib/languages/cpp"),
  css: () => import("highlight.js/lib/languages/css"),
  diff: () => import("highlight.js/lib/languages/diff"),
  go: () => import("highlight.js/lib/languages/go"),
  java: () => import("highlight.js/lib/languages/java"),
  javascript: () => import("highlight.js/lib/languages/javascript"),
  json: () => import("highlight.js/lib/languages/json"),
  markdown: () => import("highlight.js/lib/languages/markdown"),
  python: () => import("highlight.js/lib/languages/python"),
  rust: () => import("highlight.js/lib/languages/rust"),
  sql: () => import("highlight.js/lib/languages/sql"),
  typescript: () => import("highlight.js/lib/languages/typescript"),
  xml: () => import("highlight.js/lib/languages/xml"),
  yaml: () => import("highlight.js/lib/languages/yaml"),
};

const ALIASES: Record<string, string> = {
  "c++": "cpp",
  html: "xml",
  js: "javascript",
  jsx: "javascript",
  md: "markdown",
  py: "python",
  rs: "rust",
  sh: "bash",
  shell: "bash",
  svelte: "xml",
  svg: "xml",
  ts: "typescript",
  tsx: "typescript",
  yml: "yaml",
  zsh: "bash",
};

let core: Promise<HLJSApi> | undefined;

async function highlighter(language: string): Promise<HLJSApi> {
  core ??= import("highlight.js/lib/core").then((module) => module.default);
  const hljs = await core;
  if (!hljs.getLanguage(language)) hljs.registerLanguage(language, (await LANGUAGES[language]!()).default);
  return hljs;
}

async function colour(code: HTMLElement): Promise<void> {
  const given = code.dataset.language ?? "";
  const language = ALIASES[given] ?? given;
  if (!Object.hasOwn(LANGUAGES, language)) return;
  const hljs = await highlighter(language);
  // The highlighter escapes what it is given, and makes nothing but spans with classes.
  code.innerHTML = hljs.highlight(code.textContent ?? "", { language, ignoreIllegals: true }).value;
}

async function layOut(element: HTMLElement): Promise<void> {
  const [{ default: katex }] = await Promise.all([import("katex"), import("katex/dist/katex.min.css")]);
  const tex = element.textContent ?? "";
  // Into nodes, not HTML: their styles are set one by one, which the Content-Security-Policy allows.
  katex.render(tex, element, {
    displayMode: element.dataset.math === "display",
    throwOnError: false,
    trust: false,
    maxExpand: 200,
    maxSize: 20,
  });
}

/** Improve nodes that stand already; when that fails, as offline, they stay readable. */
export function decorate(root: ParentNode): void {
  const ignore = () => undefined;
  for (const code of root.querySelectorAll<HTMLElement>("code[data-language]")) colour(code).catch(ignore);
  for (const math of root.querySelectorAll<HTMLElement>("[data-math]")) layOut(math).catch(ignore);
}
