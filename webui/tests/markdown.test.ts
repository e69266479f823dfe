import { expect, test } from "vitest";
import { toBlocks } from "../src/lib/markdown";

const html = (text: string) => toBlocks(text).join("");

test("columns of a table keep to their side without a style, which the page's policy would block", () => {
  const table = html("| a | b | c |\n|---|:-:|--:|\n| 1 | 2 | 3 |");
  expect(table).toContain("<td>1</td>");
  expect(table).toContain('<td class="align-center">2</td>');
  expect(table).toContain('<th class="align-right">c</th>');
  expect(table).not.toContain("style");
});

test("items of a list of tasks show whether they are done", () => {
  expect(html("- [ ] shear\n- [X] **feed**\n- other")).toBe(
    '<ul>\n<li class="task">☐ shear</li>\n<li class="task">☑ <strong>feed</strong></li>\n<li>other</li>\n</ul>\n',
  );
  expect(html("[x] is no item")).toBe("<p>[x] is no item</p>\n");
  expect(html("- [x](https://example.com) links")).not.toContain("task");
});
