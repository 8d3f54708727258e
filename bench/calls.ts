import { attnVarlen } from '../src/index.js';
import type { Tensor } from '../src/core/tensor.js';
import type { Runtime } from '../src/runtime/runtime.js';
import { naive } from './naive/naive.js';
import { windowOf, type BenchCase } from './shapes.js';

export interface Operands {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly out: Tensor;
}

/** Submits one whole attention. */
export type Call = () => void;

/** How each contender is called; made once for all calls, so that what can be done beforehand is. */
export const CALLS = { pageflash: preparePageflash, naive: prepareNaive } as const;
export type ContenderName = keyof typeof CALLS;

function preparePageflash(runtime: Runtime, benchCase: BenchCase, operands: Operands): Call {
  const { length, causal, softcap } = benchCase;
  const cuSeqlens = [0, length];
  const args = {
    ...operands,
    cuSeqlensQ: cuSeqlens,
    cuSeqlensK: cuSeqlens,
    causal,
    windowSize: windowOf(benchCase),
    softcap,
  };
  return () => void attnVarlen(runtime, args);
}

function prepareNaive(runtime: Runtime, benchCase: BenchCase, operands: Operands): Call {
  const { softcap } = benchCase;
  const dispatches = naive({ ...operands, batch: 1, windowSize: windowOf(benchCase), softcap });
  return () => runtime.submit(dispatches);
}
