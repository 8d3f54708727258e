import type { FloatDType, SequenceId, Step } from 'pageflash';
import type { Gpu } from '../gpu/gpu.js';
import type { Recorder } from '../gpu/recorder.js';
import type { ActivationType } from '../kernels/layer.js';
import { anglesOf } from '../model/angles.js';
import type { ModelConfig, RotaryConfigs } from '../model/config.js';
import type { Attention } from '../serving/attention.js';
import { DEFAULT_SCORES_BYTES, NaiveAttention } from './naiveAttention.js';

export interface NaiveServingOptions {
  readonly config: ModelConfig;
  readonly qkvType: ActivationType;
  /** What frequencies of rotary embedding are rounded to. */
  readonly rotaryType: FloatDType;
  readonly qkv: GPUBuffer;
  readonly attended: GPUBuffer;
  readonly maxTokens: number;
  readonly nSequences: number;
  /** The most tokens of a sequence. */
  readonly context: number;
}

/** Naive attention in the place of pageflash's: each sequence has a slot of its own, as long as it may ever be. */
export class NaiveServing implements Attention {
  readonly #naive: NaiveAttention;
  readonly #slots = new Map<SequenceId, number>();
  readonly #free: number[];

  private constructor(naive: NaiveAttention, nSequences: number) {
    this.#naive = naive;
    this.#free = Array.from({ length: nSequences }, (_, slot) => slot);
  }

  static async create(gpu: Gpu, options: NaiveServingOptions): Promise<NaiveServing> {
    const { config, qkvType, rotaryType, qkv, attended, maxTokens, nSequences, context } = options;
    const { nHeads, nKvHeads, headDim, softmaxScale, attentionSoftcap } = config;
    const tablesOf = (kind: keyof RotaryConfigs) => {
      const tables = anglesOf({ rotary: config.rotary[kind], maxPositions: context, rotaryType });
      const cos = gpu.bufferOf('rotary cos', Float32Array.from(tables.rotaryCos));
      const sin = gpu.bufferOf('rotary sin', Float32Array.from(tables.rotarySin));
      return { cos, sin, rotaryDim: tables.rotaryDim, rotaryInterleaved: tables.rotaryInterleaved };
    };
    const global = tablesOf('global');
    const local = config.rotary.local === config.rotary.global ? global : tablesOf('local');
    const naive = await NaiveAttention.create(gpu, {
      nHeads,
      nKvHeads,
      headDim,
      dtype: qkvType,
      nSlots: nSequences,
      capacity: context,
      softmaxScale,
      softcap: attentionSoftcap,
      maxRows: maxTokens,
      qkv,
      out: attended,
      layers: config.layers.map(({ window, rotary }) => ({
        window,
        rotary: rotary === 'local' ? local : global,
      })),
    });
    return new NaiveServing(naive, nSequences);
  }

  begin(step: Step): Promise<void> {
    const { sequences, cacheSeqlens, cuSeqlensQ } = step;
    const slots = Array.from(sequences, (sequence) => this.#slotOf(sequence));
    this.#naive.begin({ slots, cacheSeqlens, cuSeqlensQ });
    return Promise.resolve();
  }

  record(recorder: Recorder, layer: number): void {
    this.#naive.record(recorder, layer);
  }

  forget(sequence: SequenceId): void {
    const slot = this.#slots.get(sequence);
    if (slot === undefined) return;
    this.#slots.delete(sequence);
    this.#free.push(slot);
  }

  destroy(): void {
    this.#naive.destroy();
  }

  #slotOf(sequence: SequenceId): number {
    const found = this.#slots.get(sequence);
    if (found !== undefined) return found;
    const slot = this.#free.pop();
    if (slot === undefined) throw new Error('There are more sequences than slots.');
    this.#slots.set(sequence, slot);
    return slot;
  }
}

type NaiveStepSizes = Pick<NaiveServingOptions, 'config' | 'qkvType' | 'maxTokens' | 'context'>;

/** Returns the bytes that naive attention takes beside its cache: scores, queries and angles. */
export function naiveStepBytes({ config, qkvType, maxTokens, context }: NaiveStepSizes): number {
  const { nHeads, headDim, rotary } = config;
  const scores = Math.min(DEFAULT_SCORES_BYTES, maxTokens * nHeads * context * 4);
  const queries = maxTokens * nHeads * headDim * (qkvType === 'f32' ? 4 : 2);
  const tables = (rotary.local === rotary.global ? 1 : 2) * 2 * context * (headDim / 2) * 4;
  return scores + queries + tables;
}
