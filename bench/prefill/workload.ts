import { attnVarlen } from '../../src/index.js';
import { attnVarlenReference, type HostTensor } from '../../src/reference/attention.js';
import { Random } from '../../tools/random.js';
import { checkAgainstReference, fewOf, type ExpectedRows } from '../check.js';
import { createInput, destroyInputs, type Input } from '../input.js';
import { naive } from '../naive/naive.js';
import { bindingObstacle } from '../obstacle.js';
import type { Workload } from '../workload.js';
import { bytesOf, flopsOf, naiveBytesOf, naiveScoresBytes } from './counts.js';
import { windowOf, type PrefillCase } from './shapes.js';

interface Inputs {
  /** [length, Hq, D] */
  readonly q: Input;
  /** [length, Hkv, D] */
  readonly k: Input;
  readonly v: Input;
}

/** Attention of a prompt to itself, against naive attention. */
export function prefillWorkload(device: GPUDevice, benchCase: PrefillCase): Workload {
  const { length, nHeads, headDim, causal, softcap, dtype } = benchCase;
  const inputs = createInputs(device, benchCase);
  const tensors = { q: inputs.q.tensor, k: inputs.k.tensor, v: inputs.v.tensor };
  const windowSize = windowOf(benchCase);
  return {
    outShape: [length, nHeads, headDim],
    flops: flopsOf(benchCase),
    pageflash: {
      name: 'pageflash',
      bytes: bytesOf(benchCase),
      prepare(runtime, out) {
        const cuSeqlens = [0, length];
        const lengths = { cuSeqlensQ: cuSeqlens, cuSeqlensK: cuSeqlens };
        const args = { ...tensors, ...lengths, out, causal, windowSize, softcap };
        return () => void attnVarlen(runtime, args);
      },
    },
    rivals: [
      {
        name: 'naive',
        bytes: naiveBytesOf(benchCase),
        obstacle: bindingObstacle(device, 'its scores take', naiveScoresBytes(benchCase)),
        prepare(runtime, out) {
          const dispatches = naive({ ...tensors, out, batch: 1, windowSize, softcap });
          return () => runtime.submit(dispatches);
        },
      },
    ],
    check: (out) => checkAgainstReference(out, expectedRows(inputs, benchCase), dtype),
    destroy: () => destroyInputs(Object.values(inputs) as Input[]),
  };
}

/** The same numbers in every run. */
function createInputs(device: GPUDevice, { length, nHeads, nKvHeads, headDim, dtype }: PrefillCase): Inputs {
  const random = new Random(length);
  const create = (heads: number): Input => createInput(device, random, [length, heads, headDim], dtype);
  return { q: create(nHeads), k: create(nKvHeads), v: create(nKvHeads) };
}

/** All heads of a few queries. */
function expectedRows({ q, k, v }: Inputs, benchCase: PrefillCase): ExpectedRows[] {
  const { length, nHeads, headDim, causal, softcap } = benchCase;
  const rowSize = nHeads * headDim;
  return fewOf(length).map((query) => {
    // Queries and keys end together, so a causal query is the last one of a sequence that ends with it.
    const nKeys = causal ? query + 1 : length;
    const own: HostTensor = {
      data: q.host.data.subarray(query * rowSize, (query + 1) * rowSize),
      shape: [1, nHeads, headDim],
    };
    const { out } = attnVarlenReference({
      q: own,
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
