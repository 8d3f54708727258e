import type { PageCopy } from '../../src/paging/pool/pagePool.js';
import type { Step } from '../../src/paging/planner/step.js';
import { assert, assertEqual } from '../platforms/gpuCase.js';

/** Tokens of a sequence that one step has computed. */
export interface Chunk {
  readonly sequence: number;
  /** Position of the first token. */
  readonly start: number;
  readonly tokens: readonly number[];
  /** Row of the first token among those of all steps. */
  readonly row: number;
  /** The chunk of the token before, of whichever sequence. */
  readonly parent: Chunk | undefined;
  readonly children: Chunk[];
  /** Whether its tokens saw just what its ancestors had written. Otherwise they saw equal tokens of other chunks. */
  readonly isOwn: boolean;
}

/** Who computed what is in the slots of a pool, and of the host memory behind it. */
export class ServedChunks {
  readonly all: Chunk[] = [];
  readonly #pageSize: number;
  readonly #slots = new Map<number, Chunk>();
  readonly #hostSlots = new Map<number, Chunk>();
  #nRows = 0;

  constructor(pageSize: number) {
    this.#pageSize = pageSize;
  }

  /** Follow a step: its copies, and the tokens that it computes, which are the next of those that its sequences have. */
  record(step: Step, tokensOf: (sequence: number) => readonly number[]): void {
    this.#copy(step.swapsOut, this.#slots, this.#hostSlots);
    this.#copy(step.copies, this.#slots, this.#slots);
    this.#copy(step.swapsIn, this.#hostSlots, this.#slots);
    const chunks = Array.from(step.sequences, (sequence, b) => this.#chunk(step, b, tokensOf(sequence)));
    chunks.forEach((chunk, b) => {
      chunk.parent?.children.push(chunk);
      for (let row = step.cuSeqlensQ[b]!; row < step.cuSeqlensQ[b + 1]!; row++)
        this.#slots.set(step.slotMapping[row]!, chunk);
    });
    this.all.push(...chunks);
    this.#nRows += step.nNewTokens;
  }

  #chunk(step: Step, b: number, tokens: readonly number[]): Chunk {
    const sequence = step.sequences[b]!;
    const start = step.cacheSeqlens[b]!;
    const first = step.cuSeqlensQ[b]!;
    const fresh = Array.from(step.tokens.subarray(first, step.cuSeqlensQ[b + 1]));
    assertEqual(fresh, tokens.slice(start, start + fresh.length), `tokens of sequence ${sequence}`);
    const seen = Array.from({ length: start }, (_, position) => this.#seen(step, b, position));
    seen.forEach((chunk, position) => {
      const token = chunk?.tokens[position - chunk.start];
      assert(
        token === tokens[position],
        `sequence ${sequence} sees token ${String(token)} at ${position}, where it has ${String(tokens[position])}`,
      );
    });
    const parent = seen.at(-1);
    let ancestor = parent;
    const isOwn = seen.toReversed().every((chunk, i) => {
      const position = start - 1 - i;
      while (ancestor && ancestor.start > position) ancestor = ancestor.parent;
      return chunk === ancestor;
    });
    return {
      sequence,
      start,
      tokens: fresh,
      row: this.#nRows + first,
      parent,
      children: [],
      isOwn: isOwn && (parent?.isOwn ?? true),
    };
  }

  #seen({ blockTable, tableWidth }: Step, b: number, position: number): Chunk | undefined {
    const page = blockTable[b * tableWidth + Math.floor(position / this.#pageSize)]!;
    return this.#slots.get(page * this.#pageSize + (position % this.#pageSize));
  }

  #copy(copies: readonly PageCopy[], from: ReadonlyMap<number, Chunk>, to: Map<number, Chunk>): void {
    for (const [source, target] of copies) {
      for (let i = 0; i < this.#pageSize; i++) {
        const chunk = from.get(source * this.#pageSize + i);
        if (chunk) to.set(target * this.#pageSize + i, chunk);
        else to.delete(target * this.#pageSize + i);
      }
    }
  }
}
