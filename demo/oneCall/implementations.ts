import { naive, scoresBytes } from '../../bench/peers/naive.js';
import { bytesPerElement, type FloatDType } from '../../src/core/dtype.js';
import { elementCount, wholeWords, type Tensor } from '../../src/core/tensor.js';
import {
  attnVarlen,
  createRuntime,
  type AttnVarlenArgs,
  type DeviceTraits,
  type Runtime,
} from '../../src/index.js';
import { formatBytes } from '../../tools/format.js';
import { scatterToPages, tokensOf, type Inputs, type Rows, type Stored } from './inputs.js';
import { alibiSlopes, sinkScores, type Sequence, type Settings } from './settings.js';

/** A way to compute attention, with everything that it holds on the GPU. */
export interface Implementation {
  readonly runtime: Runtime;
  /** Its inputs and outputs. */
  readonly tensors: Tensors;
  /** Submit one whole attention. */
  readonly call: () => void;
}

export interface CreateArgs {
  readonly device: GPUDevice;
  /** Where to create its tensors. */
  readonly tensors: Tensors;
  readonly settings: Settings;
  readonly inputs: Inputs;
}

/** Creates tensors on the GPU, and frees all of them together. */
export class Tensors {
  readonly #device: GPUDevice;
  readonly #buffers: GPUBuffer[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** A contiguous tensor; zeros without data. */
  create(dtype: FloatDType, shape: readonly number[], data?: Stored): Tensor {
    const buffer = this.#device.createBuffer({
      size: wholeWords(elementCount(shape) * bytesPerElement(dtype)),
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC,
      mappedAtCreation: data !== undefined,
    });
    this.#buffers.push(buffer);
    if (data) {
      const source = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      new Uint8Array(buffer.getMappedRange()).set(source);
      buffer.unmap();
    }
    return { buffer, dtype, shape };
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    this.#buffers.length = 0;
  }
}

export interface Pageflash extends Implementation {
  /** [totalQ, Hq, D] */
  readonly out: Tensor;
  /** [Hq, totalQ] */
  readonly lse: Tensor;
}

/** pageflash: all sequences in one call. */
export function createPageflash({ device, tensors, settings, inputs }: CreateArgs): Pageflash {
  const { causal, windowSize, softcap, attentionChunk, alibi, sinks, nHeads } = settings;
  const { q, cuSeqlensQ, cuSeqlensK } = inputs;
  const runtime = createRuntime(device);
  const totalQ = cuSeqlensQ.at(-1)!;
  const qTensor = uploadRows(tensors, q, [totalQ], q.data);
  const { k, v, blockTable } = uploadKeys(tensors, settings, inputs);
  const out = tensors.create(q.dtype, qTensor.shape);
  const lse = tensors.create('f32', [nHeads, totalQ]);
  const args: AttnVarlenArgs = {
    q: qTensor,
    k,
    v,
    cuSeqlensQ,
    cuSeqlensK,
    blockTable,
    causal,
    windowSize,
    softcap,
    attentionChunk,
    alibiSlopes: alibi ? alibiSlopes(nHeads) : undefined,
    sinks: sinks ? sinkScores(nHeads) : undefined,
    out,
    lse,
  };
  return { runtime, tensors, call: () => void attnVarlen(runtime, args), out, lse };
}

function uploadKeys(
  tensors: Tensors,
  settings: Settings,
  inputs: Inputs,
): Pick<AttnVarlenArgs, 'k' | 'v' | 'blockTable'> {
  const { k, v, cuSeqlensK, pages } = inputs;
  if (!pages) {
    const totalK = cuSeqlensK.at(-1)!;
    return { k: uploadRows(tensors, k, [totalK], k.data), v: uploadRows(tensors, v, [totalK], v.data) };
  }
  const paged = scatterToPages(inputs, pages, settings);
  const dims = [pages.nPages, settings.pageSize];
  return {
    k: uploadRows(tensors, k, dims, paged.k),
    v: uploadRows(tensors, v, dims, paged.v),
    blockTable: pages.blockTable,
  };
}

function uploadRows(tensors: Tensors, rows: Rows, dims: readonly number[], data: Stored): Tensor {
  return tensors.create(rows.dtype, [...dims, rows.nHeads, rows.headDim], data);
}

/** Limit of multiply-adds in one dispatch. The operating system resets a GPU that is busy with one for too long. */
const DISPATCH_MACS: Readonly<Record<DeviceTraits['deviceClass'], number>> = { software: 4e8, gpu: 5e10 };

/** Why naive attention cannot run with these settings, in words; undefined if it can. */
export function whyNotNaive(settings: Settings, traits: DeviceTraits): string | undefined {
  const { headDim, attentionChunk, sequences } = settings;
  if (attentionChunk > 0)
    return 'The naive kernels do not support attention chunks, so there is nothing to compare with.';
  if (headDim % 4 !== 0) return 'The naive kernels support only head sizes that are multiples of 4.';
  const mostMacs = Math.max(...sequences.map((sequence) => macsOf(settings, sequence)));
  const mostBytes = naiveScoresBytes(settings);
  if (mostBytes > traits.maxBindingBytes) {
    return `Naive attention cannot run: the scores of one sequence take ${formatBytes(mostBytes)}, and this device binds at most ${formatBytes(traits.maxBindingBytes)}.`;
  }
  if (mostMacs > DISPATCH_MACS[traits.deviceClass]) {
    return 'Naive attention was not run: one of its dispatches would take so long that the system might reset the GPU.';
  }
  const { maxWorkgroupsPerDimension: most } = traits;
  if (sequences.some(({ nQueries, nKeys }) => nQueries > most || nKeys > 8 * most)) {
    return 'Naive attention cannot run: it needs more workgroups than this device allows.';
  }
  return undefined;
}

/** Bytes of naive attention's scores. All sequences use the same memory, so the longest one counts. */
export function naiveScoresBytes(settings: Settings): number {
  return Math.max(...settings.sequences.map((sequence) => scoresOf(settings, sequence)));
}

/** What the naive kernels leave out of these settings, in words; undefined if nothing. */
export function leftOutOfNaive({ alibi, sinks }: Settings): string | undefined {
  const left = [alibi && 'ALiBi', sinks && 'sinks'].filter(Boolean);
  return left.length > 0
    ? `The naive kernels do not support ${left.join(' or ')}; they were timed without.`
    : undefined;
}

/** Naive attention, one sequence after another, over contiguous keys and values. */
export function createNaive({ device, tensors, settings, inputs }: CreateArgs): Implementation {
  const { causal, windowSize, softcap } = settings;
  const { q, k, v, cuSeqlensQ, cuSeqlensK } = inputs;
  const runtime = createRuntime(device);
  const cut = (rows: Rows, first: number, end: number) =>
    tensors.create(rows.dtype, [end - first, rows.nHeads, rows.headDim], tokensOf(rows, first, end));

  const calls = settings.sequences
    .map((sequence, b) => {
      const qTensor = cut(q, cuSeqlensQ[b]!, cuSeqlensQ[b + 1]!);
      return {
        sequence,
        q: qTensor,
        k: cut(k, cuSeqlensK[b]!, cuSeqlensK[b + 1]!),
        v: cut(v, cuSeqlensK[b]!, cuSeqlensK[b + 1]!),
        out: tensors.create(q.dtype, qTensor.shape),
        batch: 1,
        windowSize: [windowSize[0], causal ? 0 : windowSize[1]] as const,
        softcap,
      };
    })
    // The longest first, so that the memory for the scores need not grow.
    .toSorted((a, b) => scoresOf(settings, b.sequence) - scoresOf(settings, a.sequence));
  const dispatches = calls.filter(({ sequence }) => scoresOf(settings, sequence) > 0).flatMap(naive);
  return { runtime, tensors, call: () => runtime.submit(dispatches) };
}

function scoresOf({ nHeads }: Settings, { nQueries, nKeys }: Sequence): number {
  return scoresBytes({ batch: 1, nHeads, qLen: nQueries, kLen: nKeys });
}

function macsOf({ nHeads, headDim }: Settings, { nQueries, nKeys }: Sequence): number {
  return nHeads * headDim * nQueries * nKeys;
}
