import type { FloatDType } from '../../src/index.js';

/** What to compute, as the form gives it. */
export interface Settings {
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly dtype: FloatDType;
  readonly sequences: readonly Sequence[];
  readonly causal: boolean;
  readonly windowSize: readonly [left: number, right: number];
  readonly softcap: number;
  readonly attentionChunk: number;
  readonly alibi: boolean;
  readonly sinks: boolean;
  /** 0: keys and values are contiguous, not in pages. */
  readonly pageSize: number;
  readonly seed: number;
}

export interface Sequence {
  readonly nQueries: number;
  readonly nKeys: number;
}

/** A setting that cannot be used; the message is for the visitor. */
export class SettingError extends Error {
  override readonly name = 'SettingError';
}

/** Limit of sequences in a run. */
const MAX_SEQUENCES = 1024;

/**
 * Parse a list of sequences such as "512, 1/900, 8 x 1/300": a prompt of 512 tokens, a sequence of 1 query over 900 keys,
 * and eight of 1 query over 300 keys.
 *
 * @throws SettingError
 */
export function parseSequences(text: string): Sequence[] {
  const sequences = text
    .split(/[,;\n]/)
    .filter((part) => part.trim() !== '')
    .flatMap((part) => {
      const match = /^\s*(?:(\d+)\s*[x×*]\s*)?(\d+)(?:\s*\/\s*(\d+))?\s*$/.exec(part);
      if (!match) {
        throw new SettingError(
          `Lengths: “${part.trim()}” is neither a number of tokens, such as 512, nor queries over keys, such as 1/900.`,
        );
      }
      const [, times = '1', nQueries, nKeys = nQueries] = match;
      if (Number(times) > MAX_SEQUENCES) throw tooMany(Number(times));
      return Array.from({ length: Number(times) }, () => ({
        nQueries: Number(nQueries),
        nKeys: Number(nKeys),
      }));
    });
  if (sequences.length === 0) throw new SettingError('Lengths: name at least one sequence, such as 512.');
  if (sequences.length > MAX_SEQUENCES) throw tooMany(sequences.length);
  return sequences;
}

function tooMany(count: number): SettingError {
  return new SettingError(
    `Lengths: ${count} sequences are more than the ${MAX_SEQUENCES} that this page takes.`,
  );
}

export function totalQueries({ sequences }: Pick<Settings, 'sequences'>): number {
  return sequences.reduce((total, { nQueries }) => total + nQueries, 0);
}

export function totalKeys({ sequences }: Pick<Settings, 'sequences'>): number {
  return sequences.reduce((total, { nKeys }) => total + nKeys, 0);
}

/** Cumulative lengths [B + 1], as `cuSeqlensQ` and `cuSeqlensK` need them. */
export function cumulative(lengths: readonly number[]): Int32Array<ArrayBuffer> {
  const sums = new Int32Array(lengths.length + 1);
  lengths.forEach((length, i) => (sums[i + 1] = sums[i]! + length));
  return sums;
}

/** ALiBi slopes [nHeads] as in the paper, for powers of two: 2^(−8/n), 2^(−16/n), ... */
export function alibiSlopes(nHeads: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: nHeads }, (_, head) => 2 ** ((-8 * (head + 1)) / nHeads));
}

/** Attention sinks [nHeads], from weak to as strong as a matching key. */
export function sinkScores(nHeads: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: nHeads }, (_, head) => (head % 4) - 1);
}

/** Attention shapes of models. The first is the default on adapters that run shaders on the CPU. */
export const SHAPES = [
  { name: 'Small', nHeads: 8, nKvHeads: 2, headDim: 64 },
  { name: 'Llama 3.2 1B', nHeads: 32, nKvHeads: 8, headDim: 64 },
  { name: 'Llama 3.1 8B', nHeads: 32, nKvHeads: 8, headDim: 128 },
  { name: 'Qwen 2.5 0.5B', nHeads: 14, nKvHeads: 2, headDim: 64 },
  { name: 'Phi-2', nHeads: 32, nKvHeads: 32, headDim: 80 },
  { name: 'Gemma 2 2B', nHeads: 8, nKvHeads: 4, headDim: 256 },
  { name: 'GPT-OSS 20B', nHeads: 64, nKvHeads: 8, headDim: 64 },
] as const;

/** Typical batches of an engine; `software` is a smaller one for adapters that run shaders on the CPU. */
export const BATCHES = [
  { name: 'Ragged mix', lengths: '512, 31, 200', software: '128, 31, 80' },
  { name: 'One long prompt', lengths: '2048', software: '256' },
  { name: 'Prefill and decode', lengths: '384, 1/900, 1/77, 1/1500', software: '96, 1/300, 1/77' },
  { name: 'Prompt after a cached prefix', lengths: '256/1280', software: '64/256' },
  { name: 'Decode, 16 sequences', lengths: '16 x 1/1024', software: '8 x 1/256' },
] as const;
