import type { PrefixTree } from './prefix/prefixTree.js';

/**
 * A page whose content can be found.
 *
 * Where pages were reused while later ones of the same prompt are still there, as windows and swapping have it, their
 * tokens stay known, since they lead to the later ones. They then have a number below −1 instead of a page.
 */
export interface PublishedPage {
  readonly page: number;
  /** The page of the tokens before, or the number instead; −1 if there are none. */
  readonly parent: number;
  readonly salt: number;
  /** [pageSize] */
  readonly tokens: Int32Array;
}

/**
 * What becomes of the content of pages, for routers that send prompts to where they are cached.
 *
 * A router that keeps `stored` by page, replacing what it had, deletes what is `removed`, and renames what is `moved`
 * where it is a parent too, knows at every moment what `PageManager.snapshot().published` says. With that it knows what
 * is found: the longest beginning in whole pages that it can follow, without the last token, and whose end is in pages:
 * all of it, or with a window what the next token sees of it, at least the last page.
 */
export type PageEvent =
  | ({ readonly type: 'stored' } & PublishedPage)
  | { readonly type: 'removed'; readonly page: number }
  | { readonly type: 'moved'; readonly page: number; readonly target: number };

export interface PageEventsArgs {
  readonly tree: PrefixTree;
  /** The page of a prefix, or the number instead. */
  readonly nameOf: (prefix: number) => number;
  readonly onEvent: (event: PageEvent) => void;
}

/** Tells of pages by what the tree of prefixes knows. */
export class PageEvents {
  readonly #args: PageEventsArgs;
  readonly #children = new Map<number, Set<number>>();

  constructor(args: PageEventsArgs) {
    this.#args = args;
  }

  /** There is another prefix, and a page has it. */
  added(prefix: number): void {
    const parent = this.#args.tree.parent(prefix);
    const siblings = this.#children.get(parent);
    if (siblings) siblings.add(prefix);
    else this.#children.set(parent, new Set([prefix]));
    this.#tellStored(prefix);
  }

  /** A prefix got a page, or lost it, so it is called otherwise than before, also as a parent. */
  renamed(prefix: number, before: number): void {
    this.#tellStored(prefix);
    for (const child of this.#children.get(prefix) ?? []) this.#tellStored(child);
    this.#args.onEvent({ type: 'removed', page: before });
  }

  /** The content of a page is in another page. */
  moved(page: number, target: number): void {
    this.#args.onEvent({ type: 'moved', page, target });
  }

  /** A prefix, without children, is about to be forgotten that was called so. */
  removed(prefix: number, name: number): void {
    const parent = this.#args.tree.parent(prefix);
    const siblings = this.#children.get(parent);
    siblings?.delete(prefix);
    if (siblings?.size === 0) this.#children.delete(parent);
    this.#args.onEvent({ type: 'removed', page: name });
  }

  #tellStored(prefix: number): void {
    const { tree, nameOf, onEvent } = this.#args;
    onEvent({ type: 'stored', ...publishedPage(tree, nameOf, prefix) });
  }
}

/** A prefix by the page that has it. */
export function publishedPage(
  tree: PrefixTree,
  nameOf: (prefix: number) => number,
  prefix: number,
): PublishedPage {
  return {
    page: nameOf(prefix),
    parent: nameOf(tree.parent(prefix)),
    salt: tree.salt(prefix),
    tokens: tree.tokens(prefix),
  };
}
