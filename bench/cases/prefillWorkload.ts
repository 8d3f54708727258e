import { bytesPerElement } from '../../src/core/dtype.js';
import { attnVarlen } from '../../src/index.js';
import { NO_MASKS } from '../../src/problem/attentionProblem.js';
import { visibleBand } from '../../src/problem/band.js';
import { attnVarlenReference, type HostTensor } from '../../src/reference/attention.js';
import { Random } from '../../tools/random.js';
import { mayUseMatrices } from '../device/useMatrices.js';
import { naive, scoresBytes } from '../peers/naive.js';
import { windowOf, type PrefillCase } from './cases.js';
import {
  bindingLimit,
  checkAgainstReference,
  createInput,
  destroyInputs,
  firstMiddleLast,
  type ExpectedRows,
  type Implementation,
  type Input,
  type Workload,
} from './workload.js';

interface Inputs {
  /** [length, Hq, D] */
  readonly q: Input;
  /** [length, Hkv, D] */
  readonly k: Input;
  readonly v: Input;
}

/** Self-attention over a prompt; the peer is naive attention. */
export function prefillWorkload(device: GPUDevice, benchCase: PrefillCase): Workload {
  const { length, nHeads, headDim, causal, softcap, dtype } = benchCase;
  const inputs = createInputs(device, benchCase);
  const tensors = { q: inputs.q.tensor, k: inputs.k.tensor, v: inputs.v.tensor };
  const windowSize = windowOf(benchCase);
  const own: Implementation = {
    name: 'pageflash',
    bytes: bytesOf(benchCase),
    prepare(runtime, out) {
      const cuSeqlens = [0, length];
      const lengths = { cuSeqlensQ: cuSeqlens, cuSeqlensK: cuSeqlens };
      const args = { ...tensors, ...lengths, out, causal, windowSize, softcap };
      return () => void attnVarlen(runtime, args);
    },
  };
  return {
    outShape: [length, nHeads, headDim],
    flops: flopsOf(benchCase),
    pageflash: own,
    peers: [
      {
        name: 'naive',
        bytes: naiveBytesOf(benchCase),
        unsupported: bindingLimit(device, 'its scores take', naiveScoresBytes(benchCase)),
        prepare(runtime, out) {
          const dispatches = naive({ ...tensors, out, batch: 1, windowSize, softcap });
          return () => runtime.submit(dispatches);
        },
      },
      ...(mayUseMatrices(device) ? [{ ...own, name: 'T1', tier: 'T1' } as const] : []),
    ],
    check: (out) => checkAgainstReference(out, expectedRows(inputs, benchCase), dtype),
    destroy: () => destroyInputs(Object.values(inputs) as Input[]),
  };
}

/** Random inputs, the same in every run. */
function createInputs(device: GPUDevice, { length, nHeads, nKvHeads, headDim, dtype }: PrefillCase): Inputs {
  const random = new Random(length);
  const create = (heads: number): Input => createInput(device, random, [length, heads, headDim], dtype);
  return { q: create(nHeads), k: create(nKvHeads), v: create(nKvHeads) };
}

/** The reference's output for all heads of a few queries. */
function expectedRows({ q, k, v }: Inputs, benchCase: PrefillCase): ExpectedRows[] {
  const { length, nHeads, headDim, causal, softcap } = benchCase;
  const rowSize = nHeads * headDim;
  return firstMiddleLast(length).map((query) => {
    // Alignment is bottom right: a causal query is the last one of the sequence up to it.
    const nKeys = causal ? query + 1 : length;
    const oneQuery: HostTensor = {
      data: q.host.data.subarray(query * rowSize, (query + 1) * rowSize),
      shape: [1, nHeads, headDim],
    };
    const { out } = attnVarlenReference({
      q: oneQuery,
      k: k.host,
      v: v.host,
      cuSeqlensQ: [0, 1],
      cuSeqlensK: [0, nKeys],
      causal,
      windowSize: windowOf(benchCase),
      softcap,
    });
    return { expected: out.data, firstIndex: query * rowSize };
  });
}

/** The number of (query, key) pairs of one head that the mask lets through. */
export function visiblePairs(benchCase: PrefillCase): number {
  const [left, right] = windowOf(benchCase);
  const { length } = benchCase;
  const keys = { firstKey: 0, kLen: length };
  let pairs = 0;
  for (let query = 0; query < length; query++) {
    const [first, last] = visibleBand(query, keys, { ...NO_MASKS, left, right });
    pairs += Math.max(0, last - first + 1);
  }
  return pairs;
}

/** Multiplications and additions of Q·Kᵀ and P·V, visible pairs only. */
export function flopsOf(benchCase: PrefillCase): number {
  return 2 * visiblePairs(benchCase) * 2 * benchCase.headDim * benchCase.nHeads;
}

/** The bytes that attention must move: q, k and v read once, out written once. */
function bytesOf({ length, nHeads, nKvHeads, headDim, dtype }: PrefillCase): number {
  return 2 * length * (nHeads + nKvHeads) * headDim * bytesPerElement(dtype);
}

/** The bytes that naive attention must move: also each score, masked or not, written twice and read twice. */
function naiveBytesOf(benchCase: PrefillCase): number {
  return bytesOf(benchCase) + 4 * naiveScoresBytes(benchCase);
}

/** The bytes of naive attention's scores of all heads. */
export function naiveScoresBytes({ nHeads, length }: PrefillCase): number {
  return scoresBytes({ batch: 1, nHeads, qLen: length, kLen: length });
}
