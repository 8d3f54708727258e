import type { SequenceView } from '../managedSequence.js';
import type { PageManager } from '../pageManager.js';
import { BatchArrays, type Batch } from '../pool/batch.js';
import { resized } from '../pool/intArrays.js';
import type { PageCopy } from '../pool/pagePool.js';

/**
 * The work of a step. Before the model runs, pages are copied in the order `swapsOut`, `copies`, `swapsIn`; within each
 * of these the copies can be made at once.
 *
 * Valid until the next step is planned. As a `Batch` it can be passed whole to `attnWithKvCache` and its plan.
 */
export interface Step extends Batch {
  /** `[B]`: ids */
  readonly sequences: Int32Array<ArrayBuffer>;
  /** `[totalQ]`: the tokens to compute; −1 where they are not known yet */
  readonly tokens: Int32Array<ArrayBuffer>;
  /** `[U]`: the rows of totalQ whose tokens are not known yet, as the last step has not told what it sampled */
  readonly unknownRows: Int32Array<ArrayBuffer>;
  /** `[U]`: which of the last step's samples each of these is */
  readonly unknownSamples: Int32Array<ArrayBuffer>;
  /** `[S]`: the sequences that have nothing left to compute after the step, so that their next token can be sampled */
  readonly sampled: Int32Array<ArrayBuffer>;
  /** `[S]`: the row of totalQ from which each of these is sampled. With k drafts, the k rows before check them. */
  readonly sampledRows: Int32Array<ArrayBuffer>;
  /** [page, host page] */
  readonly swapsOut: readonly PageCopy[];
  /** [page, page] */
  readonly copies: readonly PageCopy[];
  /** [host page, page] */
  readonly swapsIn: readonly PageCopy[];
}

const EMPTY = new Int32Array();

/** A step, and the code that writes it. */
export class StepArrays extends BatchArrays implements Step {
  sequences = EMPTY;
  tokens = EMPTY;
  unknownRows = EMPTY;
  unknownSamples = EMPTY;
  sampled = EMPTY;
  sampledRows = EMPTY;
  readonly swapsOut: PageCopy[] = [];
  readonly copies: PageCopy[] = [];
  readonly swapsIn: PageCopy[] = [];

  clearCopies(): void {
    this.swapsOut.length = this.copies.length = this.swapsIn.length = 0;
  }

  /** Describes a step that computes what is in flight of these sequences. */
  describe(pages: PageManager, sequences: readonly SequenceView[]): void {
    const ids = (this.sequences = resized(this.sequences, sequences.length));
    for (let b = 0; b < sequences.length; b++) ids[b] = sequences[b]!.id;
    pages.fillBatch(this, ids);

    const tokens = (this.tokens = resized(this.tokens, this.nNewTokens));
    let row = 0;
    let nSampled = 0;
    for (const sequence of sequences) {
      const { nTokens, nComputed, nInFlight } = sequence;
      const end = nComputed + nInFlight;
      for (let position = nComputed; position < end; position++) tokens[row++] = sequence.token(position);
      if (end === nTokens) nSampled++;
    }

    this.#describeUnknown(sequences);

    const sampled = (this.sampled = resized(this.sampled, nSampled));
    const sampledRows = (this.sampledRows = resized(this.sampledRows, nSampled));
    let i = 0;
    for (let b = 0; b < sequences.length; b++) {
      const { id, nTokens, nComputed, nInFlight } = sequences[b]!;
      if (nComputed + nInFlight < nTokens) continue;
      sampled[i] = id;
      sampledRows[i++] = this.cuSeqlensQ[b + 1]! - 1;
    }
  }

  #describeUnknown(sequences: readonly SequenceView[]): void {
    const unknown = ({ nTokens, nComputed, nInFlight, unknownSample }: SequenceView): boolean =>
      unknownSample >= 0 && nComputed + nInFlight === nTokens;
    const nUnknown = sequences.filter(unknown).length;
    const rows = (this.unknownRows = resized(this.unknownRows, nUnknown));
    const samples = (this.unknownSamples = resized(this.unknownSamples, nUnknown));
    let i = 0;
    for (let b = 0; b < sequences.length; b++) {
      if (!unknown(sequences[b]!)) continue;
      rows[i] = this.cuSeqlensQ[b + 1]! - 1;
      samples[i++] = sequences[b]!.unknownSample;
    }
  }
}
