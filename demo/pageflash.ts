import { attnVarlen, createRuntime, type AttnVarlenArgs } from '../src/index.js';
import type { Tensor } from '../src/core/tensor.js';
import type { Contender, ContenderArgs } from './contender.js';
import { scatterToPages, type Inputs, type Rows, type Stored } from './inputs.js';
import { alibiSlopes, sinkScores, type Settings } from './settings.js';
import type { Tensors } from './transfer.js';

export interface Pageflash extends Contender {
  /** [totalQ, Hq, D] */
  readonly out: Tensor;
  /** [Hq, totalQ] */
  readonly lse: Tensor;
}

/** The library's attention over all sequences in one call. */
export function createPageflash({ device, tensors, settings, inputs }: ContenderArgs): Pageflash {
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
