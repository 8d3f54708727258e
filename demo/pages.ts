import { PageManager, type PageSnapshot } from '../src/index.js';
import type { Settings } from './settings.js';

/** Pages of a pool, and who has them. */
export interface HeldPages {
  readonly nPages: number;
  /** [B, width] */
  readonly blockTable: Int32Array<ArrayBuffer>;
  readonly snapshot: PageSnapshot;
}

/** Pages that a turn gives to a sequence. */
const PAGES_A_TURN = 2;
/** More than any sequence has, so that no two of them have a token in common. */
const TOKENS_APART = 2 ** 20;

/** Pages for all keys, handed out as to chats that grow side by side: a few to each in turn. */
export function holdPages({ sequences, pageSize }: Pick<Settings, 'sequences' | 'pageSize'>): HeldPages {
  const nPages = sequences.reduce((total, { nKeys }) => total + Math.ceil(nKeys / pageSize), 0);
  const pages = new PageManager({ nPages: Math.max(1, nPages), pageSize });
  const ids = sequences.map(({ nKeys }, b) =>
    pages.add(Int32Array.from({ length: nKeys }, (_, j) => b * TOKENS_APART + j)),
  );
  let growing = ids;
  while (growing.length > 0) {
    for (const id of growing) {
      pages.reserve(id, PAGES_A_TURN * pageSize);
      pages.commit(id);
    }
    growing = growing.filter((id) => pages.nToCompute(id) > 0);
  }
  const { blockTable } = pages.batch(ids);
  return { nPages: pages.nPages, blockTable: blockTable.slice(), snapshot: pages.snapshot() };
}
