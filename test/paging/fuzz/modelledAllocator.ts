import * as fc from 'fast-check';
import { BlockAllocator, type BlockAllocatorOptions } from '../../../src/paging/blockAllocator.js';
import { pick } from './managerOperations.js';
import { assertSame, assertSameNumbers } from './fastAssert.js';

/** An operation on an allocator. Sequences are picked by number, modulo how many there are. */
export type AllocatorOperation =
  | { readonly type: 'create' }
  | { readonly type: 'append'; readonly pick: number; readonly n: number }
  | { readonly type: 'truncate'; readonly pick: number; readonly n: number }
  | { readonly type: 'fork'; readonly pick: number }
  | { readonly type: 'release'; readonly pick: number };

export const allocatorOperation: fc.Arbitrary<AllocatorOperation> = fc.oneof(
  { weight: 2, arbitrary: fc.constant({ type: 'create' as const }) },
  { weight: 6, arbitrary: fc.record({ type: fc.constant('append' as const), pick, n: fc.nat(12) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('truncate' as const), pick, n: fc.nat(12) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constantFrom('fork' as const, 'release' as const), pick }) },
);

interface ModelTokens {
  readonly id: number;
  readonly tokens: readonly number[];
}

/** An allocator beside a memory in which each token, a number of its own, is written where the arrays of a batch say. */
export class ModelledAllocator {
  readonly #allocator: BlockAllocator;
  readonly #memory: Int32Array;
  #sequences: readonly ModelTokens[] = [];
  #nextToken = 1;

  constructor(options: BlockAllocatorOptions) {
    this.#allocator = new BlockAllocator(options);
    this.#memory = new Int32Array(options.nPages * options.pageSize);
  }

  run(operation: AllocatorOperation): void {
    if (operation.type === 'create')
      this.#sequences = [...this.#sequences, { id: this.#allocator.create(), tokens: [] }];
    else if (this.#sequences.length > 0) this.#change(operation, operation.pick % this.#sequences.length);
    this.#check();
  }

  end(): void {
    for (const { id } of this.#sequences) this.#allocator.release(id);
    assertSame('free pages after all', this.#allocator.nFreePages, this.#allocator.nPages);
  }

  #change(operation: Exclude<AllocatorOperation, { readonly type: 'create' }>, index: number): void {
    const { id, tokens } = this.#sequences[index]!;
    if (operation.type === 'release') {
      this.#allocator.release(id);
      this.#sequences = this.#sequences.toSpliced(index, 1);
    } else if (operation.type === 'fork') {
      this.#sequences = [...this.#sequences, { id: this.#allocator.fork(id), tokens }];
    } else if (operation.type === 'truncate') {
      const kept = tokens.slice(0, operation.n % (tokens.length + 1));
      this.#allocator.truncate(id, kept.length);
      this.#sequences = this.#sequences.with(index, { id, tokens: kept });
    } else this.#append(index, operation.n);
  }

  #append(index: number, nTokens: number): void {
    const { id, tokens } = this.#sequences[index]!;
    const before = this.#state();
    const copies = this.#allocator.append(id, nTokens);
    if (copies === 'full') {
      assertSame('state after a full pool', this.#state(), before);
      return;
    }
    const { pageSize } = this.#allocator;
    for (const [source, target] of copies)
      this.#memory.copyWithin(target * pageSize, source * pageSize, (source + 1) * pageSize);
    const added = Array.from({ length: nTokens }, () => this.#nextToken++);
    const { slotMapping } = this.#allocator.batch([id], [nTokens]);
    added.forEach((token, i) => (this.#memory[slotMapping[i]!] = token));
    this.#sequences = this.#sequences.with(index, { id, tokens: [...tokens, ...added] });
  }

  /** Every sequence finds its own tokens, in no more pages than they take. */
  #check(): void {
    const { pageSize, nPages, nFreePages } = this.#allocator;
    const ids = this.#sequences.map(({ id }) => id);
    const { blockTable, tableWidth, sequsedK } = this.#allocator.batch(ids, Array(ids.length).fill(0));
    assertSameNumbers(
      'lengths',
      [...sequsedK],
      this.#sequences.map(({ tokens }) => tokens.length),
    );
    this.#sequences.forEach(({ tokens }, b) => {
      const row = [...blockTable.subarray(b * tableWidth, (b + 1) * tableWidth)];
      const found = tokens.map(
        (_, i) => this.#memory[row[Math.floor(i / pageSize)]! * pageSize + (i % pageSize)]!,
      );
      assertSameNumbers(`tokens of sequence ${ids[b]}`, found, tokens);
      const nHeld = Math.ceil(tokens.length / pageSize);
      assertSame(
        'pages beyond the tokens',
        row.slice(nHeld).every((page) => page === -1),
        true,
      );
    });
    const held = new Set(blockTable);
    held.delete(-1);
    assertSame('free pages', nFreePages, nPages - held.size);
  }

  #state(): string {
    const sequences = this.#sequences.map(({ id }) => [
      this.#allocator.nTokens(id),
      ...this.#allocator.pages(id),
    ]);
    return JSON.stringify([this.#allocator.nFreePages, sequences]);
  }
}
