import type { PageEvent, PublishedPage } from '../../../src/paging/prefix/pageEvents.js';
import type { PagingOptions } from './pagingModel.js';

/** What a prompt finds: a number of tokens, and the pages of those that it will hold. */
export interface Found {
  readonly nTokens: number;
  readonly pages: readonly number[];
}

/** Keeps the published pages as events tell them, as a router does that sends prompts to where they are cached. */
export class EventRouter {
  readonly #pageSize: number;
  readonly #window: number;
  readonly #nKept: number;
  #published = new Map<number, PublishedPage>();

  constructor({ pageSize, window, firstKeys }: Pick<PagingOptions, 'pageSize' | 'window' | 'firstKeys'>) {
    this.#pageSize = pageSize;
    this.#window = window;
    this.#nKept = Math.ceil(firstKeys / pageSize);
  }

  get published(): PublishedPage[] {
    return [...this.#published.values()];
  }

  handle(event: PageEvent): void {
    if (event.type === 'stored') {
      const { type: _, ...page } = event;
      this.#published.set(event.page, page);
    } else if (event.type === 'removed') {
      this.#published.delete(event.page);
    } else {
      const renamed = (page: number) => (page === event.page ? event.target : page);
      const pages = this.published.map((entry) => ({
        ...entry,
        page: renamed(entry.page),
        parent: renamed(entry.parent),
      }));
      this.#published = new Map(pages.map((entry) => [entry.page, entry]));
    }
  }

  /** The published pages of a prompt, or the numbers instead, from the first on. */
  path(tokens: readonly number[], salt: number): number[] {
    const path: number[] = [];
    while ((path.length + 1) * this.#pageSize <= tokens.length) {
      const parent = path.at(-1) ?? -1;
      const start = path.length * this.#pageSize;
      const wanted = tokens.slice(start, start + this.#pageSize).join();
      const next = this.published.find(
        (entry) => entry.parent === parent && entry.salt === salt && entry.tokens.join() === wanted,
      );
      if (!next) break;
      path.push(next.page);
    }
    return path;
  }

  /** What a prompt finds. At least one token is left to compute. */
  find(tokens: readonly number[], salt: number): Found {
    const path = this.path(tokens.slice(0, -1), salt);
    for (; path.length > 0; path.pop()) {
      const nTokens = path.length * this.#pageSize;
      const firstSeen = this.#firstSeen(nTokens);
      const pages = path.filter((_, column) => column < this.#nKept || column >= firstSeen);
      if (pages.every((page) => page >= 0)) return { nTokens, pages };
    }
    return { nTokens: 0, pages: [] };
  }

  #firstSeen(nTokens: number): number {
    if (this.#window < 0) return 0;
    const columns = Math.floor(Math.max(0, nTokens - this.#window) / this.#pageSize);
    return Math.min(columns, nTokens / this.#pageSize - 1);
  }
}
