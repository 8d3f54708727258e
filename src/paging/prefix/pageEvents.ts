import type { PrefixTree } from './prefixTree.js';

/**
 * A page whose content can be found.
 *
 * A page may be reused while later pages of the same prompt are kept, as happens with windows and swapping. Its tokens stay
 * known, since they lead to the later ones. They then have a number below −1 instead of a page.
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
 * A router keeps what is `stored` by page, replacing what it had, deletes what is `removed`, and renames what is `moved`,
 * also where it is a parent. Then it has what `PageManager.snapshot().published` has at every moment, and so it knows what
 * a prompt finds: the longest prefix in whole pages, without the last token, that it can follow and whose end is in pages:
 * all of it, or with a window what the next token sees of it, at least the last page.
 */
export type PageEvent =
  | ({ readonly type: 'stored' } & PublishedPage)
  | { readonly type: 'removed'; readonly page: number }
  | { readonly type: 'moved'; readonly page: number; readonly target: number };

export interface PageEventsArgs {
  readonly tree: PrefixTree;
  readonly publishedPage: (prefix: number) => PublishedPage;
  readonly onEvent: (event: PageEvent) => void;
}

/** Sends events when prefixes get pages, lose them or are removed. */
export class PageEvents {
  readonly #args: PageEventsArgs;
  readonly #children = new Map<number, Set<number>>();

  constructor(args: PageEventsArgs) {
    this.#args = args;
  }

  /** A prefix was added, with a page. */
  added(prefix: number): void {
    const parent = this.#args.tree.parent(prefix);
    const siblings = this.#children.get(parent);
    if (siblings) siblings.add(prefix);
    else this.#children.set(parent, new Set([prefix]));
    this.#sendStored(prefix);
  }

  /** A prefix got a page or lost it. `before` was its page, or the number instead, for its children too. */
  renamed(prefix: number, before: number): void {
    this.#sendStored(prefix);
    for (const child of this.#children.get(prefix) ?? []) this.#sendStored(child);
    this.#args.onEvent({ type: 'removed', page: before });
  }

  /** The content of a page is in another page. */
  moved(page: number, target: number): void {
    this.#args.onEvent({ type: 'moved', page, target });
  }

  /** A prefix without children, in `page` or with that number, is about to be removed. */
  removed(prefix: number, page: number): void {
    const parent = this.#args.tree.parent(prefix);
    const siblings = this.#children.get(parent);
    siblings?.delete(prefix);
    if (siblings?.size === 0) this.#children.delete(parent);
    this.#args.onEvent({ type: 'removed', page });
  }

  #sendStored(prefix: number): void {
    this.#args.onEvent({ type: 'stored', ...this.#args.publishedPage(prefix) });
  }
}
