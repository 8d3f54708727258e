import { BatchArrays, type Batch } from '../pool/batch.js';
import type { SequenceView } from '../managedSequence.js';
import { IntBuffer } from '../pool/intBuffer.js';
import type { PageManager } from '../pageManager.js';
import type { PageCopy } from '../pool/pageTable.js';

/**
 * The work of a step. Before the model runs, pages are copied in the order `swapsOut`, `copies`, `swapsIn`; within each
 * of these the copies can be made at once.
 *
 * Valid until the next step is planned. As a `Batch` it can be passed whole to `attnWithKvCache` and its plan.
 */
export interface Step extends Batch {
  /** [B]: ids */
  readonly sequences: Int32Array<ArrayBuffer>;
  /** [totalQ]: the tokens to compute */
  readonly tokens: Int32Array<ArrayBuffer>;
  /** [S]: the sequences of which every token is computed then, so that the next one can be sampled */
  readonly sampled: Int32Array<ArrayBuffer>;
  /** [S]: the row of totalQ of which each of these is sampled. With k drafts, the k rows before check the drafts. */
  readonly sampledRows: Int32Array<ArrayBuffer>;
  /** [page, host page] */
  readonly swapsOut: readonly PageCopy[];
  /** [page, page] */
  readonly copies: readonly PageCopy[];
  /** [host page, page] */
  readonly swapsIn: readonly PageCopy[];
}

const EMPTY = new Int32Array();

/** A step, and what writes it. */
export class StepArrays extends BatchArrays implements Step {
  sequences = EMPTY;
  tokens = EMPTY;
  sampled = EMPTY;
  sampledRows = EMPTY;
  readonly swapsOut: PageCopy[] = [];
  readonly copies: PageCopy[] = [];
  readonly swapsIn: PageCopy[] = [];
  readonly #sequences = new IntBuffer();
  readonly #tokens = new IntBuffer();
  readonly #sampled = new IntBuffer();
  readonly #sampledRows = new IntBuffer();

  /** Nothing is to be copied. */
  clearCopies(): void {
    this.swapsOut.length = 0;
    this.copies.length = 0;
    this.swapsIn.length = 0;
  }

  /** What is in flight of the first `nSequences` of `sequences` is the work of this step. */
  describe(pages: PageManager, sequences: readonly SequenceView[], nSequences: number): void {
    const ids = (this.sequences = this.#sequences.resize(nSequences));
    for (let b = 0; b < nSequences; b++) ids[b] = sequences[b]!.id;
    pages.fill(this, ids);
    this.#describeTokens(sequences, nSequences);
    this.#describeSamples(sequences, nSequences);
  }

  #describeTokens(sequences: readonly SequenceView[], nSequences: number): void {
    const tokens = (this.tokens = this.#tokens.resize(this.nNewTokens));
    let row = 0;
    for (let b = 0; b < nSequences; b++) {
      const { nComputed, nInFlight } = sequences[b]!;
      for (let i = 0; i < nInFlight; i++) tokens[row++] = sequences[b]!.token(nComputed + i);
    }
  }

  #describeSamples(sequences: readonly SequenceView[], nSequences: number): void {
    let nSampled = 0;
    for (let b = 0; b < nSequences; b++) if (isAtEnd(sequences[b]!)) nSampled++;
    const sampled = (this.sampled = this.#sampled.resize(nSampled));
    const sampledRows = (this.sampledRows = this.#sampledRows.resize(nSampled));
    let i = 0;
    for (let b = 0; b < nSequences; b++) {
      if (!isAtEnd(sequences[b]!)) continue;
      sampled[i] = sequences[b]!.id;
      sampledRows[i++] = this.cuSeqlensQ[b + 1]! - 1;
    }
  }
}

function isAtEnd({ nTokens, nComputed, nInFlight }: SequenceView): boolean {
  return nComputed + nInFlight === nTokens;
}
