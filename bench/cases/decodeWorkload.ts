import { contiguousStrides, type Tensor } from '../../src/core/tensor.js';
import { attnWithKvCache, type Runtime } from '../../src/index.js';
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
  /** [P, PAGE_SIZE, Hkv, Dv]; perhaps a view of kCache */
  readonly vCache: Input;
}

/** A decode step over a paged cache; the peers are naive attention and pageflash's own prefill kernel. */
export function decodeWorkload(device: GPUDevice, benchCase: DecodeCase): Workload {
  const { nHeads, headDim, headDimV = headDim, keys, dtype } = benchCase;
  const pages = shuffledPages(benchCase);
  const inputs = createInputs(device, benchCase, pages);
  const tensors = { q: inputs.q.tensor, kCache: inputs.kCache.tensor, vCache: inputs.vCache.tensor };
  const problemFor = (out: Tensor) => decodeProblem(benchCase, { ...tensors, out }, pages);
  const outShape = [keys.length, 1, nHeads, headDimV];
  // Only its shape counts.
  const problem = problemFor({ ...tensors.q, shape: outShape });
  const areInKeys = benchCase.headDimV !== undefined;
  const needed = countNeeded(problem);
  const bytes = totalBytes(areInKeys ? { ...needed, v: 0 } : needed);
  const kLens = Uint32Array.from(keys);
  return {
    outShape,
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
        unsupported:
          headDimV === headDim
            ? bindingLimit(device, 'what it gathers takes', naiveDecodeBinding({ ...tensors, kLens }))
            : 'it gathers keys and values of one size',
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
    // Values that are a part of keys are read again, from caches, and many rows by attn_prefill.
    ...(!areInKeys && { traffic: ({ traits }: Runtime) => countTraffic(problem, traits) }),
    destroy: () => destroyInputs(Object.values(inputs) as Input[]),
  };
}

/** Random inputs, the same in every run. */
function createInputs(
  device: GPUDevice,
  { nHeads, nKvHeads, headDim, headDimV, keys, dtype }: DecodeCase,
  { nPages }: DecodePages,
): Inputs {
  const random = new Random(nPages);
  const create = (shape: readonly number[]): Input => createInput(device, random, shape, dtype);
  const pages = [nPages, PAGE_SIZE, nKvHeads, headDim];
  const q = create([keys.length, 1, nHeads, headDim]);
  const kCache = create(pages);
  return { q, kCache, vCache: headDimV === undefined ? create(pages) : firstOf(kCache, headDimV) };
}

/** A view of the first elements of each head. */
function firstOf({ tensor, host }: Input, size: number): Input {
  const { shape } = tensor;
  const headDim = shape.at(-1)!;
  const first = [...shape.slice(0, -1), size];
  return {
    tensor: { ...tensor, shape: first, strides: contiguousStrides(shape) },
    host: { shape: first, data: host.data.filter((_, i) => i % headDim < size) },
  };
}

/** Multiplications and additions of Q·Kᵀ and P·V. */
function flopsOf({ nHeads, headDim, headDimV = headDim, keys }: DecodeCase): number {
  return 2 * (headDim + headDimV) * nHeads * keys.reduce((total, n) => total + n, 0);
}

/** The reference's output for all heads of a few sequences. */
function expectedRows(
  inputs: Inputs,
  { blockTable, width }: DecodePages,
  { nHeads, headDim, headDimV = headDim, keys }: DecodeCase,
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
    return { expected: out.data, firstIndex: sequence * nHeads * headDimV };
  });
}

/** All heads of one sequence's query: [1, Hq, D]. */
function queryOf({ q }: Inputs, sequence: number): HostTensor {
  const [, , nHeads, headDim] = q.host.shape as [number, number, number, number];
  const size = nHeads * headDim;
  return { data: q.host.data.subarray(sequence * size, (sequence + 1) * size), shape: [1, nHeads, headDim] };
}
