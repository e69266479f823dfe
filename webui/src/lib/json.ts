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
  parse(text, errors);
  const first = errors.sort((a, b) => a.offset - b.offset)[0];
  if (!first) return null;
  const before = text.slice(0, first.offset).split("\n");
  const name = printParseErrorCode(first.error) as keyof typeof strings.jsonFaults;
  const { jsonFaults } = strings;
  const message = text.trim() ? (jsonFaults[name] ?? jsonFaults.InvalidSymbol) : jsonFaults.Empty;
  return { line: before.length, column: before.at(-1)!.length + 1, message };
}

/** What is there of JSON, which may be a beginning of it; null where it is nested deeper than can be drawn. */
export function treeOf(text: string): Node | null {
  const tree = parse(text, []);
  return tree && isWithin(tree, MAX_DEPTH) ? tree : null;
}

/** Levels of nodes; a field of an object is two. */
const MAX_DEPTH = 200;

function isWithin({ children = [] }: Node, depth: number): boolean {
  return depth > 0 && children.every((child) => isWithin(child, depth - 1));
}

/** undefined also for what is nested so deep that the parser runs out of stack: a model may write that. */
function parse(text: string, errors: ParseError[]): Node | undefined {
  try {
    return parseTree(text, errors, STRICT);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
