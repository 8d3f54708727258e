import type { Tensor } from '../../src/core/tensor.js';
import { attnWithKvCache } from '../../src/index.js';
import { attnVarlenReference, type HostTensor } from '../../src/reference/attention.js';
import { Random } from '../../tools/random.js';
import { decodeByPrefill } from '../peers/decodeByPrefill.js';
import { naiveDecode, naiveDecodeBinding } from '../peers/naive.js';
import type { DecodeCase } from './cases.js';
import { countNeeded, countTraffic } from './countTraffic.js';
import { decodeProblem, shuffledPages, type DecodePages } from './decodeProblem.js';
import { PAGE_SIZE } from './shapes.js';
import { totalBytes } from './traffic.js';
import {
  bindingLimit,
  checkAgainstReference,
  createInput,
  destroyInputs,
  firstMiddleLast,
  type ExpectedRows,
  type Input,
  type Workload,
} from './workload.js';

interface Inputs {
  /** [B, 1, Hq, D] */
  readonly q: Input;
  /** [P, PAGE_SIZE, Hkv, D] */
  readonly kCache: Input;
  readonly vCache: Input;
}

/** A decode step over a paged cache; the peers are naive attention and pageflash's own prefill kernel. */
export function decodeWorkload(device: GPUDevice, benchCase: DecodeCase): Workload {
  const { nHeads, headDim, keys, dtype } = benchCase;
  const pages = shuffledPages(benchCase);
  const inputs = createInputs(device, benchCase, pages);
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
        const args = { ...tensors, out, cacheSeqlens: keys, blockTable: pages.blockTable, causal: true };
        return () => void attnWithKvCache(runtime, args);
      },
    },
    peers: [
      {
        name: 'naive',
        bytes,
        unsupported: bindingLimit(device, 'what it gathers takes', naiveDecodeBinding({ ...tensors, kLens })),
        prepare(runtime, out) {
          const dispatches = naiveDecode({ ...tensors, out, blockTable: pages.blockTable, kLens });
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

/** Random inputs, the same in every run. */
function createInputs(
  device: GPUDevice,
  { nHeads, nKvHeads, headDim, keys, dtype }: DecodeCase,
  { nPages }: DecodePages,
): Inputs {
  const random = new Random(nPages);
  const create = (shape: readonly number[]): Input => createInput(device, random, shape, dtype);
  const pages = [nPages, PAGE_SIZE, nKvHeads, headDim];
  return { q: create([keys.length, 1, nHeads, headDim]), kCache: create(pages), vCache: create(pages) };
}

/** Multiplications and additions of Q·Kᵀ and P·V. */
function flopsOf({ nHeads, headDim, keys }: DecodeCase): number {
  return 2 * 2 * headDim * nHeads * keys.reduce((total, n) => total + n, 0);
}

/** The reference's output for all heads of a few sequences. */
function expectedRows(
  inputs: Inputs,
  { blockTable, width }: DecodePages,
  { keys }: DecodeCase,
): ExpectedRows[] {
  return firstMiddleLast(keys.length).map((sequence) => {
    const q = queryOf(inputs, sequence);
    const { out } = attnVarlenReference({
      q,
      k: inputs.kCache.host,
      v: inputs.vCache.host,
      cuSeqlensQ: [0, 1],
      sequsedK: [keys[sequence]!],
      blockTable: blockTable.subarray(sequence * width, (sequence + 1) * width),
    });
    return { expected: out.data, firstIndex: sequence * q.data.length };
  });
}

/** All heads of one sequence's query: [1, Hq, D]. */
function queryOf({ q }: Inputs, sequence: number): HostTensor {
  const [, , nHeads, headDim] = q.host.shape as [number, number, number, number];
  const size = nHeads * headDim;
  return { data: q.host.data.subarray(sequence * size, (sequence + 1) * size), shape: [1, nHeads, headDim] };
}
