import type { SequenceId, SequenceView, Step } from 'pageflash';
import type { Gpu } from '../gpu/gpu.js';
import type { KernelTimes } from '../gpu/kernelTimes.js';
import type { Sampler, SampleRow } from '../kernels/sample.js';
import type { Sampling } from '../kernels/sampling.js';
import type { Model } from '../model/model.js';
import type { Attention, WatchedRows } from './attention.js';
import { TokenReader } from './tokenReader.js';

/** What a step does for a sequence. */
export interface SequencePlan {
  readonly view: SequenceView;
  /** Rows of the step: those from `first` on, up to but not including `end`. */
  readonly rows: Rows;
  /** How many of its last tokens are drafts. */
  readonly nDrafts: number;
  readonly sampling: Sampling;
  /** Of its rows, those whose attention weights are asked for. */
  readonly watched: WatchedRows | undefined;
}

export interface Rows {
  readonly first: number;
  readonly end: number;
}

/** A step on its way. What it samples is on the GPU. */
export interface StepInFlight {
  readonly sampled: readonly SequenceId[];
  /** Of each of these. After each draft, and before the first, a token is sampled. */
  readonly nDrafts: readonly number[];
  /** The other sequences of the step. */
  readonly unsampled: readonly SequenceId[];
  /** The samples, sequence after sequence. Once the step is submitted */
  readonly read: () => Promise<Uint32Array>;
}

export interface StepParts {
  readonly gpu: Gpu;
  readonly model: Model;
  readonly attention: Attention;
  readonly sampler: Sampler;
  readonly times: KernelTimes | undefined;
}

/** Runs steps on the GPU: from the planner's step to sampled tokens, or logits. */
export class StepRunner {
  readonly #parts: StepParts;
  readonly #reader: TokenReader;

  constructor(parts: StepParts) {
    this.#parts = parts;
    this.#reader = new TokenReader(parts.gpu, parts.sampler.sampled);
  }

  /** Submits a step, and the copy of its samples. */
  async submit(step: Step, plans: readonly SequencePlan[]): Promise<StepInFlight> {
    const { gpu, model, attention, sampler, times } = this.#parts;
    const sampledIds = new Set(step.sampled);
    const sampled = plans.filter(({ view }) => sampledIds.has(view.id));
    const logitRows = Uint32Array.from(
      sampled.flatMap(({ rows, nDrafts }) => range(rows.end - 1 - nDrafts, rows.end)),
    );
    const samples = sampled.flatMap(sampleRows);
    const watched = plans.flatMap((plan) => (plan.watched?.rows.length ? [plan.watched] : []));
    await attention.begin(step);
    const read = gpu.watched('a step', () => {
      const rows = model.prepare(tokensOf(step), logitRows);
      sampler.prepare(samples);
      const recorder = gpu.record(times);
      model.record(recorder, rows, (layer) => {
        const ofLayer = watched.filter((one) => one.layer === layer);
        attention.record(recorder, layer, ofLayer);
      });
      sampler.record(recorder);
      const reading = this.#reader.record(recorder, samples.length);
      recorder.submit();
      return reading;
    });
    return {
      sampled: sampled.map(({ view }) => view.id),
      nDrafts: sampled.map(({ nDrafts }) => nDrafts),
      unsampled: plans.filter(({ view }) => !sampledIds.has(view.id)).map(({ view }) => view.id),
      read: () => gpu.settle(read()),
    };
  }

  /** Returns the logits of some rows of the step that was submitted last, f32 [rows, vocabSize]. */
  async logits({ first, end }: Rows): Promise<Float32Array> {
    const { gpu, model, times } = this.#parts;
    const { maxLogits, vocabSize } = model;
    const { logits } = model.activations;
    const all = new Float32Array((end - first) * vocabSize);
    for (let from = first; from < end; from += maxLogits) {
      const rows = Uint32Array.from(range(from, Math.min(from + maxLogits, end)));
      gpu.watched('a step', () => {
        const nLogits = model.prepareHead(rows);
        const recorder = gpu.record(times);
        model.recordHead(recorder, nLogits);
        recorder.submit();
      });
      const numbers = await gpu.settle(gpu.readFloats(logits, rows.length * vocabSize * 4));
      all.set(numbers, (from - first) * vocabSize);
    }
    return all;
  }
}

/** The tokens of a step as the model takes them: −1 − i for the i-th sample of the step before. */
function tokensOf({ tokens, unknownRows, unknownSamples }: Step): Int32Array<ArrayBuffer> {
  const known = Int32Array.from(tokens);
  unknownRows.forEach((row, i) => {
    known[row] = -1 - unknownSamples[i]!;
  });
  return known;
}

/** A row of logits for each token that may come next: after the last known token, and after each draft. */
function sampleRows({ view, rows, nDrafts, sampling }: SequencePlan): SampleRow[] {
  const { nComputed } = view;
  const history =
    sampling.repetitionPenalty === 1
      ? undefined
      : Array.from({ length: nComputed }, (_, position) => view.token(position));
  return range(rows.end - 1 - nDrafts, rows.end).map((row) => {
    const count = row - rows.first + 1;
    return { sampling, position: nComputed + count, history, ids: { first: rows.first, count } };
  });
}

function range(first: number, end: number): number[] {
  return Array.from({ length: end - first }, (_, i) => first + i);
}
