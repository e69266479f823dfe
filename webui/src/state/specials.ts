/** Which tokens of the vocabulary are special: the server reads their text as one token only when it is told to. */

import { mayBeSpecial, type Piece } from "../lib/pieces";
import { server } from "./server.svelte";

/** Of one text; what looks like a special token beyond that is taken for none. */
const MOST = 64;

export class Specials {
  readonly #known = new Map<number, boolean>();

  /** The ids of the special tokens among `pieces`. */
  async among(pieces: readonly Piece[]): Promise<Set<number>> {
    const asked = new Map(pieces.filter(mayBeSpecial).map((piece) => [piece.id, piece]));
    const unknown = [...asked.values()].filter(({ id }) => !this.#known.has(id)).slice(0, MOST);
    await Promise.all(unknown.map((piece) => this.#ask(piece)));
    return new Set([...asked.keys()].filter((id) => this.#known.get(id)));
  }

  async #ask({ id, piece }: Piece): Promise<void> {
    const plain = await server.tokenize(String(piece), { add_special: false, parse_special: false });
    this.#known.set(id, plain.length !== 1 || plain[0]!.id !== id);
  }
}
