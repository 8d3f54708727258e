import type { PageSnapshot, SequenceView } from 'pageflash';
import type { PageCell } from '../protocol.js';
import type { ConversationTokens } from './answers.js';

export interface PageOwnersArgs {
  readonly snapshot: PageSnapshot;
  /** Which conversation a sequence belongs to. */
  readonly conversationOf: (sequence: number) => string | undefined;
  /** Those that hold no pages now, but would find theirs again. */
  readonly ended: readonly ConversationTokens[];
}

/** Says of each page whose it is: a running conversation holds it, or an ended one would find it again. */
export function pageOwners({ snapshot, conversationOf, ended }: PageOwnersArgs): readonly PageCell[] {
  const { nPages, pageSize, sequences, published, free, counts } = snapshot;
  const owners = Array.from({ length: nPages }, () => new Set<string>());
  for (const { id, pages } of sequences) {
    const conversation = conversationOf(id);
    if (conversation === undefined) continue;
    for (const page of pages) if (page >= 0) owners[page]!.add(conversation);
  }
  const next = new Map(published.map(({ page, parent, tokens }) => [keyOf(parent, tokens), page]));
  for (const { conversation, tokens } of ended) {
    let parent = -1;
    for (let first = 0; first + pageSize <= tokens.length; first += pageSize) {
      const page = next.get(keyOf(parent, tokens.slice(first, first + pageSize)));
      if (page === undefined) break;
      if (page >= 0) owners[page]!.add(conversation);
      parent = page;
    }
  }
  const isPublished = new Set(published.map(({ page }) => page));
  // Pages that nothing is found in are reused first, in this order too.
  const order = new Map(free.map((page, i) => [page, i]));
  return owners.map((conversations, page): PageCell => {
    const count = counts[page]!;
    const state = count > 1 ? 'shared' : count === 1 ? 'held' : isPublished.has(page) ? 'cached' : 'free';
    return { state, conversations: [...conversations], evictedAs: order.get(page) ?? -1 };
  });
}

/** The tokens in a page, as far as they are known. */
export function pageTokens(
  page: number,
  snapshot: PageSnapshot,
  viewOf: (sequence: number) => SequenceView,
): readonly number[] {
  const { sequences, published, pageSize } = snapshot;
  for (const { id, pages } of sequences) {
    const column = pages.indexOf(page);
    if (column < 0) continue;
    const view = viewOf(id);
    const first = column * pageSize;
    const n = Math.max(0, Math.min(pageSize, view.nTokens - first));
    return Array.from({ length: n }, (_, i) => view.token(first + i)).filter((token) => token >= 0);
  }
  return [...(published.find((one) => one.page === page)?.tokens ?? [])];
}

function keyOf(parent: number, tokens: ArrayLike<number>): string {
  return `${parent}:${Array.from(tokens).join()}`;
}
