import type { SequenceId, Step, Tensor } from 'pageflash';
import type { Recorder } from '../gpu/recorder.js';

/** Rows of a step whose attention weights in a layer are asked for. */
export interface WatchedRows {
  readonly layer: number;
  readonly rows: readonly number[];
  /** Gets them, f32 [rows, nHeads, keys]. */
  readonly weights: Tensor;
}

/** Attention of a model's layers, with the keys and values of all sequences. */
export interface Attention {
  /** Prepares a step. Call it before the step is recorded, once for each submit. */
  begin(step: Step): Promise<void>;
  /** Keeps a layer's new keys and values, and attends. Naive attention is never given rows to be watched. */
  record(recorder: Recorder, layer: number, watched: readonly WatchedRows[]): void;
  /** Compiles, in the background, what only rows that are watched need. Naive attention has none. */
  prepareWatched?(): Promise<void>;
  /** A sequence has ended. */
  forget(sequence: SequenceId): void;
  destroy(): void;
}
