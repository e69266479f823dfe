/** A conversation is a tree: each message has the one that it answers as its parent, and each path down is a branch. */

export interface Node {
  id: string;
  parentId: string | null;
  createdAt: number;
}

const byAge = (a: Node, b: Node) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1);

/** The messages from the first one down to `leaf`; as far up as there are parents. */
export function branch<T extends Node>(nodes: readonly T[], leaf: string | null): T[] {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const path: T[] = [];
  for (let node = byId.get(leaf ?? ""); node; node = byId.get(node.parentId ?? "")) {
    byId.delete(node.id); // of a ring in an imported file each message is taken once
    path.push(node);
  }
  return path.reverse();
}

/** `node` and its alternatives, the oldest first. */
export function siblings<T extends Node>(nodes: readonly T[], node: T): T[] {
  return nodes.filter((other) => other.parentId === node.parentId).sort(byAge);
}

/** The end of the newest branch below `id`, which may be `id` itself. */
export function newestLeaf(nodes: readonly Node[], id: string): string {
  const seen = new Set<string>();
  for (let leaf = id; ; ) {
    seen.add(leaf);
    const children = nodes.filter((node) => node.parentId === leaf && !seen.has(node.id)).sort(byAge);
    const newest = children.at(-1);
    if (!newest) return leaf;
    leaf = newest.id;
  }
}

/** `id` and everything below it. */
export function subtree(nodes: readonly Node[], id: string): Set<string> {
  const found = new Set([id]);
  for (let grew = true; grew; ) {
    const before = found.size;
    for (const node of nodes) if (node.parentId !== null && found.has(node.parentId)) found.add(node.id);
    grew = found.size > before;
  }
  return found;
}
