/** JSON that somebody is typing or a model is writing: what is wrong with it and where, and what there is of it. */

import { parseTree, printParseErrorCode, type Node, type ParseError } from "jsonc-parser";
import { strings } from "../strings";

export type { Node } from "jsonc-parser";

const STRICT = { disallowComments: true, allowTrailingComma: false, allowEmptyContent: false };

export interface Fault {
  /** From 1. */
  line: number;
  column: number;
  message: string;
}

/** The first thing that is wrong with JSON; null if nothing is. */
export function faultOf(text: string): Fault | null {
  const errors: ParseError[] = [];
  parseTree(text, errors, STRICT);
  const first = errors.sort((a, b) => a.offset - b.offset)[0];
  if (!first) return null;
  const before = text.slice(0, first.offset).split("\n");
  const name = printParseErrorCode(first.error) as keyof typeof strings.jsonFaults;
  const { jsonFaults } = strings;
  const message = text.trim() ? (jsonFaults[name] ?? jsonFaults.InvalidSymbol) : jsonFaults.Empty;
  return { line: before.length, column: before.at(-1)!.length + 1, message };
}

/** What is there of JSON, which may be a beginning of it. */
export function treeOf(text: string): Node | null {
  return parseTree(text, [], STRICT) ?? null;
}

