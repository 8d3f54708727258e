import type { SequenceId } from './registry.js';
import type { PageSnapshot } from './pageSnapshot.js';

/** Who has a page: one sequence, several, a pin, or nobody, and then whether its content can still be found. */
export type PageOwner =
  | { readonly state: 'owned'; readonly sequence: SequenceId }
  | { readonly state: 'shared' | 'pinned' | 'cached' | 'free' };

/** [nPages]: who has each page. */
export function pageOwners({ nPages, sequences, pins, published }: PageSnapshot): PageOwner[] {
  const owners: PageOwner[] = Array.from({ length: nPages }, () => ({ state: 'free' }));
  for (const { page } of published) if (page >= 0) owners[page] = { state: 'cached' };
  for (const page of pins.flat()) if (page >= 0) owners[page] = { state: 'pinned' };
  for (const { id, pages, copySource } of sequences) {
    for (const page of [...pages, copySource]) {
      if (page < 0) continue;
      const isTaken = owners[page]!.state === 'owned' || owners[page]!.state === 'shared';
      owners[page] = isTaken ? { state: 'shared' } : { state: 'owned', sequence: id };
    }
  }
  return owners;
}
