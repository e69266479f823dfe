import { describe, expect, test } from "vitest";
import { branch, newestLeaf, siblings, subtree } from "../src/lib/tree";

const node = (id: string, parentId: string | null, createdAt: number) => ({ id, parentId, createdAt });

// a ─┬─ b ── d
//    └─ c ─┬─ e
//          └─ f
const tree = [node("a", null, 1), node("b", "a", 2), node("c", "a", 4), node("d", "b", 3), node("e", "c", 5), node("f", "c", 6)];
const ids = (nodes: { id: string }[]) => nodes.map(({ id }) => id).join("");

describe("a tree of messages", () => {
  test("a branch goes from the first message to the leaf", () => {
    expect(ids(branch(tree, "d"))).toBe("abd");
    expect(ids(branch(tree, "f"))).toBe("acf");
    expect(branch(tree, null)).toEqual([]);
    expect(branch(tree, "none")).toEqual([]);
  });

  test("a ring, as a damaged file may have one, ends", () => {
    const ring = [node("a", "b", 1), node("b", "a", 2)];
    expect(ids(branch(ring, "a"))).toBe("ba");
    expect(newestLeaf(ring, "a")).toBe("b");
    expect([...subtree(ring, "a")].sort()).toEqual(["a", "b"]);
  });

  test("versions stand in the order in which they were written", () => {
    expect(ids(siblings(tree, tree[2]!))).toBe("bc");
    expect(ids(siblings(tree, tree[0]!))).toBe("a");
  });

  test("the newest branch is the one that is shown below a version", () => {
    expect(newestLeaf(tree, "a")).toBe("f");
    expect(newestLeaf(tree, "b")).toBe("d");
  });

  test("a subtree is everything below", () => {
    expect([...subtree(tree, "c")].join("")).toBe("cef");
  });
});
