import type { FloatDType } from '../src/index.js';

/** What the visitor asks for. */
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
  /** 0: keys and values lie end to end. */
  readonly pageSize: number;
  readonly seed: number;
}

export interface Sequence {
  readonly nQueries: number;
  readonly nKeys: number;
}

/** A setting that means nothing, in words for the visitor. */
export class SettingError extends Error {
  override readonly name = 'SettingError';
}

/** Nobody reads the results of more. */
const MOST_SEQUENCES = 1024;

/**
 * "512, 1/900, 8 x 1/300": a sequence of 512 tokens, one of 1 query over 900 keys, and eight of 1 query over 300.
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
      if (Number(times) > MOST_SEQUENCES) throw tooMany(Number(times));
      return Array.from({ length: Number(times) }, () => ({
        nQueries: Number(nQueries),
        nKeys: Number(nKeys),
      }));
    });
  if (sequences.length === 0) throw new SettingError('Lengths: name at least one sequence, such as 512.');
  if (sequences.length > MOST_SEQUENCES) throw tooMany(sequences.length);
  return sequences;
}

function tooMany(count: number): SettingError {
  return new SettingError(
    `Lengths: ${count} sequences are more than the ${MOST_SEQUENCES} that this page takes.`,
  );
}

export function totalQueries({ sequences }: Pick<Settings, 'sequences'>): number {
  return sequences.reduce((total, { nQueries }) => total + nQueries, 0);
}

export function totalKeys({ sequences }: Pick<Settings, 'sequences'>): number {
  return sequences.reduce((total, { nKeys }) => total + nKeys, 0);
}

/** Running sums, as functions of variable lengths take them: [B + 1]. */
export function cumulative(lengths: readonly number[]): Int32Array<ArrayBuffer> {
  const sums = new Int32Array(lengths.length + 1);
  lengths.forEach((length, i) => (sums[i + 1] = sums[i]! + length));
  return sums;
}

/** One slope for each head, as the paper on ALiBi gives them for powers of two: 2^(−8/n), 2^(−16/n), ... */
export function alibiSlopes(nHeads: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: nHeads }, (_, head) => 2 ** ((-8 * (head + 1)) / nHeads));
}

/** One sink for each head, from weak to as strong as a good key. */
export function sinkScores(nHeads: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: nHeads }, (_, head) => (head % 4) - 1);
}
