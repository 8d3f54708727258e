import { roundTo, type FloatDType } from '../../src/core/dtype.js';
import { elementCount } from '../../src/core/tensor.js';
import type { HostTensor } from '../../src/reference/attention.js';
import type { Random } from '../../tools/random.js';

export interface SinksCase {
  /** For every head, or only for every second one: −∞ for the others. */
  readonly sinks?: boolean | 'some heads' | undefined;
  readonly dtype: FloatDType;
}

/** A sink for each head, in the type of q. */
export function drawSinks(random: Random, nHeads: number, { sinks, dtype }: SinksCase): Float32Array {
  return random
    .normals(nHeads)
    .map((sink, head) => (sinks === 'some heads' && head % 2 === 0 ? -Infinity : roundTo(dtype, sink)));
}

/** [n + 1]: cumulative sums of the lengths, from 0. */
export function runningSum(lengths: readonly number[]): Int32Array<ArrayBuffer> {
  const sums = new Int32Array(lengths.length + 1);
  lengths.forEach((length, i) => (sums[i + 1] = sums[i]! + length));
  return sums;
}

/** `equal`: of all keys. `spike`: of one key, far above the rest. `huge`: near ±3e5 before scaling, many of them equal. */
export type Scores = 'normal' | 'equal' | 'spike' | 'huge';

interface ScoresCase {
  readonly scores?: Scores;
  readonly headDim: number;
  readonly dtype: FloatDType;
  readonly kvDType?: FloatDType;
}

/** Changes queries and keys so that their scores are as the case asks. */
export function shapeScores(
  { scores, headDim, dtype, kvDType = dtype }: ScoresCase,
  random: Random,
  {
    q,
    keys,
    cuSeqlensK,
  }: { readonly q: HostTensor; readonly keys: HostTensor; readonly cuSeqlensK: Int32Array },
): void {
  const row = elementCount(keys.shape.slice(1));
  const set = (tensor: HostTensor, type: FloatDType, valueAt: (i: number, old: number) => number): void => {
    tensor.data.forEach((old, i) => ((tensor.data as Float32Array)[i] = roundTo(type, valueAt(i, old))));
  };
  if (scores === 'equal') set(keys, kvDType, (i) => keys.data[i % row]!);
  if (scores === 'huge') {
    // All are multiples of one step, so that any two are either equal to the last bit or far apart.
    const factors = random.uniforms(keys.data.length / headDim, -8, 9).map(Math.floor);
    set(q, dtype, () => 3e5 / 8 / headDim);
    set(keys, kvDType, (i) => factors[Math.floor(i / headDim)]!);
  }
  if (scores === 'spike') {
    const spikes = new Set(cuSeqlensK.subarray(1).map((end, b) => random.int(cuSeqlensK[b]!, end)));
    set(q, dtype, (_, old) => old + 1);
    set(keys, kvDType, (i, old) => (spikes.has(Math.floor(i / row)) ? old + 10 : old));
  }
}
