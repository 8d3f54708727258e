import { namesOf } from '../core/checkArguments.js';
import { fail } from '../core/errors.js';
import { BatchArrays, type Batch } from './pool/batch.js';
import { PagePool, type PageCopy } from './pool/pagePool.js';
import { PageTable } from './pool/pageTable.js';
import { checkCount, checkList, checkPool } from './pool/pagingChecks.js';
import { SequenceRegistry, type SequenceId } from './sequenceRegistry.js';

export interface BlockAllocatorOptions {
  /** Pages in the pool. */
  readonly nPages: number;
  /** Tokens in a page. */
  readonly pageSize: number;
}

const NAMES = namesOf<BlockAllocatorOptions>({ nPages: true, pageSize: true });

/**
 * Gives pages of a pool to sequences that grow token by token. It deals in ids of pages, the same in every layer, and
 * owns no memory.
 *
 * A full pool is an answer, `'full'`, after which nothing has changed. Wrong arguments throw `PageflashError` with code
 * `argument`, and change nothing either.
 *
 * ```ts
 * const allocator = new BlockAllocator({ nPages: 1024, pageSize: 16 });
 * const chat = allocator.create();
 * const copies = allocator.append(chat, prompt.length);
 * if (copies === 'full') … // release a sequence, or wait until one ends
 * cache.copyPages(copies);
 * const batch = allocator.batch([chat], [prompt.length]);
 * attnWithKvCache(runtime, { q, k, v, ...cache.layer(0), ...batch, causal: true }); // q, k, v: [totalQ, heads, D]
 * ```
 */
export class BlockAllocator {
  readonly #pool: PagePool;
  readonly #tables = new SequenceRegistry<PageTable>('BlockAllocator');
  readonly #arrays: BatchArrays;

  /**
   * A `PagedKvCache` will do for options.
   *
   * @throws PageflashError `argument` if there is not at least one page of at least one token, or an unknown option
   */
  constructor(options: BlockAllocatorOptions) {
    checkPool('BlockAllocator', options, NAMES);
    const { nPages, pageSize } = options;
    this.#pool = new PagePool(nPages, pageSize);
    this.#arrays = new BatchArrays(pageSize);
  }

  /** Tokens in a page. */
  get pageSize(): number {
    return this.#pool.pageSize;
  }

  /** Pages in the pool. */
  get nPages(): number {
    return this.#pool.nPages;
  }

  /** Pages that no sequence holds. */
  get nFreePages(): number {
    return this.#pool.nFree;
  }

  /** Sequences that were created or forked and not yet released. */
  get nSequences(): number {
    return this.#tables.size;
  }

  /** Starts a sequence without tokens and pages. O(1) */
  create(): SequenceId {
    return this.#tables.add(new PageTable(this.#pool, 0));
  }

  /**
   * Makes room for `nTokens` more: for all of them, or for none. O(pages taken)
   *
   * Returns pages to copy before the new tokens are written, one at most: where the last page is shared with a fork,
   * the sequence goes on in a copy of it. Returns `'full'` if there are not enough free pages. The copies of several
   * calls can be made at once, as long as nothing was forked, truncated or released in between.
   */
  append(sequence: SequenceId, nTokens: number): readonly PageCopy[] | 'full' {
    const table = this.#tables.find('append', sequence);
    checkCount('BlockAllocator.append', 'nTokens', nTokens);
    const end = table.nTokens + nTokens;
    return table.nMissing(end) > this.#pool.nFree ? 'full' : table.grow(end);
  }

  /** Keeps the first `nTokens`, as after speculation that was rejected. O(pages given back) */
  truncate(sequence: SequenceId, nTokens: number): void {
    const table = this.#tables.find('truncate', sequence);
    checkCount('BlockAllocator.truncate', 'nTokens', nTokens, 0, table.nTokens);
    table.shrink(nTokens);
  }

  /** Starts a sequence with the same tokens in the same pages. O(pages) */
  fork(sequence: SequenceId): SequenceId {
    return this.#tables.add(this.#tables.find('fork', sequence).clone());
  }

  /** Ends a sequence and gives back its pages. O(pages) */
  release(sequence: SequenceId): void {
    this.#tables.find('release', sequence).shrink(0);
    this.#tables.delete(sequence);
  }

  /** Returns the number of tokens of a sequence. */
  nTokens(sequence: SequenceId): number {
    return this.#tables.find('nTokens', sequence).nTokens;
  }

  /** Returns the pages of a sequence in order, in a new array. */
  pages(sequence: SequenceId): number[] {
    const table = this.#tables.find('pages', sequence);
    return Array.from({ length: table.nPages }, (_, column) => table.page(column));
  }

  /**
   * Returns the arrays of a step in which each of B sequences computes its newest `nNewTokens[b]` tokens, appended
   * before. Valid until the next call. O(B + new tokens + changes of the tables)
   */
  batch(sequences: readonly SequenceId[], nNewTokens: ArrayLike<number>): Batch {
    checkList('BlockAllocator.batch', 'sequences', sequences);
    checkList('BlockAllocator.batch', 'nNewTokens', nNewTokens);
    if (nNewTokens.length !== sequences.length)
      fail(
        'argument',
        'BlockAllocator.batch',
        `nNewTokens must have a number for each of ${sequences.length} sequences, not ${nNewTokens.length}.`,
      );
    const tables = Array.from(sequences, (sequence, b) => {
      const table = this.#tables.find('batch', sequence);
      checkCount('BlockAllocator.batch', 'nNewTokens', nNewTokens[b]!, 0, table.nTokens);
      return table;
    });
    this.#arrays.update(tables, nNewTokens);
    return this.#arrays;
  }
}
