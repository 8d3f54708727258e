import type { SequenceId, Step } from 'pageflash';
import type { Recorder } from '../gpu/recorder.js';

/** Attention of a model's layers, with the keys and values of all sequences. */
export interface Attention {
  /** Prepares a step. Call it before the step is recorded, once for each submit. */
  begin(step: Step): Promise<void>;
  /** Keeps a layer's new keys and values, and attends. */
  record(recorder: Recorder, layer: number): void;
  /** A sequence has ended. */
  forget(sequence: SequenceId): void;
  destroy(): void;
}
