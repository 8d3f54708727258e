import type { Tensor } from '../../src/core/tensor.js';
import { attnWithKvCache } from '../../src/index.js';
import { attnVarlenReference } from '../../src/reference/attention.js';
import { checkAgainstReference, fewOf, type ExpectedRows } from '../check.js';
import { destroyInputs, type Input } from '../input.js';
import { naiveDecode, naiveDecodeBinding } from '../naive/naiveDecode.js';
import { bindingObstacle } from '../obstacle.js';
import type { Workload } from '../workload.js';
import { countNeeded, countTraffic } from './countTraffic.js';
import { createDecodeInputs, queryOf, shuffledPages, type DecodeInputs } from './inputs.js';
import { decodeByPrefill } from './prefillKernel.js';
import { decodeProblem, type Pages } from './problem.js';
import type { DecodeCase } from './shapes.js';
import { totalBytes } from './traffic.js';

/** A step of decoding over a cache in pages, against naive attention and against the kernel that prefills. */
export function decodeWorkload(device: GPUDevice, benchCase: DecodeCase): Workload {
  const { nHeads, headDim, keys, dtype } = benchCase;
  const pages = shuffledPages(benchCase);
  const inputs = createDecodeInputs(device, benchCase, pages);
  const tensors = { q: inputs.q.tensor, kCache: inputs.kCache.tensor, vCache: inputs.vCache.tensor };
  const problemFor = (out: Tensor) => decodeProblem(benchCase, { ...tensors, out }, pages);
  // The output is shaped like the queries.
  const problem = problemFor(tensors.q);
  const bytes = totalBytes(countNeeded(problem));
  const kLens = Uint32Array.from(keys);
  return {
    outShape: [keys.length, 1, nHeads, headDim],
    flops: flopsOf(benchCase),
    pageflash: {
      name: 'pageflash',
      bytes,
      prepare(runtime, out) {
        const args = { ...tensors, out, cacheSeqlens: keys, blockTable: pages.table, causal: true };
        return () => void attnWithKvCache(runtime, args);
      },
    },
    rivals: [
      {
        name: 'naive',
        bytes,
        obstacle: bindingObstacle(device, 'what it gathers takes', naiveDecodeBinding({ ...tensors, kLens })),
        prepare(runtime, out) {
          const dispatches = naiveDecode({ ...tensors, out, table: pages.table, kLens });
          return () => runtime.submit(dispatches);
        },
      },
      {
        name: 'attn_prefill',
        bytes,
        prepare(runtime, out) {
          const dispatches = decodeByPrefill(problemFor(out), runtime.traits);
          return () => runtime.submit(dispatches);
        },
      },
    ],
    check: (out) => checkAgainstReference(out, expectedRows(inputs, pages, benchCase), dtype),
    traffic: ({ traits }) => countTraffic(problem, traits),
    destroy: () => destroyInputs(Object.values(inputs) as Input[]),
  };
}

/** Multiplications and additions of the two products. */
export function flopsOf({ nHeads, headDim, keys }: DecodeCase): number {
  return 2 * 2 * headDim * nHeads * keys.reduce((total, n) => total + n, 0);
}

/** All heads of a few sequences. */
function expectedRows(inputs: DecodeInputs, { table, width }: Pages, { keys }: DecodeCase): ExpectedRows[] {
  return fewOf(keys.length).map((sequence) => {
    const q = queryOf(inputs, sequence);
    const { out } = attnVarlenReference({
      q,
      k: inputs.kCache.host,
      v: inputs.vCache.host,
      cuSeqlensQ: [0, 1],
      sequsedK: [keys[sequence]!],
      blockTable: table.subarray(sequence * width, (sequence + 1) * width),
    });
    return { expected: out.data, firstIndex: sequence * q.data.length };
  });
}
