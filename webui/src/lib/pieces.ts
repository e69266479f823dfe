/** Tokens of a text as `/tokenize` shows them. */

export interface Piece {
  id: number;
  /** Its text, or its bytes where they are no text by themselves. */
  piece: string | number[];
}

/** A token for readers: white space that ends a line is seen and ends it, bytes are hexadecimal. */
export function showPiece({ piece }: Piece): string {
  if (typeof piece !== "string") return piece.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  return piece.replaceAll("\n", "↵\n").replaceAll("\t", "⇥\t");
}

export function bytesOf({ piece }: Piece): number[] {
  return typeof piece === "string" ? [...new TextEncoder().encode(piece)] : piece;
}

/** The ids that a reader typed; null where there is something else. */
export function readIds(text: string): number[] | null {
  const words = text.split(/[\s,[\]]+/).filter(Boolean);
  return words.every((word) => /^\d{1,9}$/.test(word)) ? words.map(Number) : null;
}

/** Whether a token may be a special one: those are words with marks around them. */
export function mayBeSpecial({ piece }: Piece): boolean {
  return typeof piece === "string" && piece.length > 2 && /[<>[\]|｜▁]/u.test(piece);
}
