import type { FloatDType } from '../src/core/dtype.js';
import { attnVarlenReference, type HostTensor } from '../src/reference/attention.js';
import type { Inputs } from './inputs.js';
import type { Check } from './results.js';
import { windowOf, type BenchCase } from './shapes.js';

type Reals = Float32Array | Float64Array;

/** The biggest difference to be allowed, as a share of the biggest output or of 1: roundings of the type, no more. */
const ALLOWED: Readonly<Record<FloatDType, number>> = { f32: 2e-5, f16: 3e-3, bf16: 1e-2 };

/** @throws Error that says where the two differ by more than is allowed */
export function checkAgainstNaive(out: Reals, naive: Reals, { dtype }: BenchCase): Check {
  return compare({ against: 'naive', out, expected: naive, dtype, firstIndex: 0 });
}

/**
 * Compare the output of a few queries, all heads of each, with the reference on the CPU.
 *
 * @throws Error that says where the two differ by more than is allowed
 */
export function checkAgainstReference(out: Reals, inputs: Inputs, benchCase: BenchCase): Check {
  const { length, nHeads, headDim, causal, softcap, dtype } = benchCase;
  const rowSize = nHeads * headDim;
  const checks = [0, Math.floor(length / 2), length - 1].map((query) => {
    // Queries and keys end together, so a causal query is the last one of a sequence that ends with it.
    const nKeys = causal ? query + 1 : length;
    const q: HostTensor = {
      data: inputs.q.host.data.subarray(query * rowSize, (query + 1) * rowSize),
      shape: [1, nHeads, headDim],
    };
    const { out: expected } = attnVarlenReference({
      q,
      k: inputs.k.host,
      v: inputs.v.host,
      cuSeqlensQ: [0, 1],
      cuSeqlensK: [0, nKeys],
      causal,
      windowSize: windowOf(benchCase),
      softcap,
    });
    return compare({
      against: 'reference',
      out: out.subarray(query * rowSize, (query + 1) * rowSize),
      expected: expected.data,
      dtype,
      firstIndex: query * rowSize,
    });
  });
  return checks.reduce((worst, check) => (check.maxDifference > worst.maxDifference ? check : worst));
}

interface CompareArgs {
  readonly against: Check['against'];
  readonly out: Reals;
  readonly expected: Reals;
  readonly dtype: FloatDType;
  /** Of the first output in the whole. */
  readonly firstIndex: number;
}

function compare({ against, out, expected, dtype, firstIndex }: CompareArgs): Check {
  let maxDifference = 0;
  let worst = 0;
  let largest = 1;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(out[i]! - expected[i]!);
    largest = Math.max(largest, Math.abs(expected[i]!));
    // So written, NaN is worse than anything.
    if (difference <= maxDifference) continue;
    maxDifference = difference;
    worst = i;
    if (Number.isNaN(difference)) break;
  }
  const allowed = ALLOWED[dtype] * largest;
  if (!(maxDifference <= allowed)) {
    throw new Error(
      `pageflash and ${against} disagree: at element ${firstIndex + worst} they have ${out[worst]} and ${expected[worst]}; in ${dtype} they may differ by ${allowed.toPrecision(2)}.`,
    );
  }
  return { against, maxDifference, allowed };
}
