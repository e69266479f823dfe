/** The pages beside the chat, by their addresses. */

export const PAGES = ["live", "tokens", "template", "tools"] as const;
export type Page = (typeof PAGES)[number];

/** The page that an address's fragment names; null for the chat. */
export function pageOf(hash: string): Page | null {
  return PAGES.find((page) => hash === `#/${page}`) ?? null;
}
