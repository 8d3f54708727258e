import { contiguousStrides, elementCount, type Tensor } from '../../src/core/tensor.js';
import { attnWeights, type AttnWeightsArgs, type ChosenRows, type Runtime } from '../../src/index.js';
import {
  attnVarlenReference,
  attnWeightsReference,
  attnWithKvCacheReference,
  type HostTensor,
} from '../../src/reference/attention.js';
import { download, downloadGaps, upload } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import { assert } from '../platforms/gpuCase.js';
import { checkWeights } from '../reference/tolerance.js';
import {
  drawKvCache,
  placeKvCache,
  referenceArgs,
  type KvCacheCase,
  type KvCacheInputs,
} from './kvCacheCase.js';
import { quantiseCache } from './quantisedCache.js';
import { denseArgs, draw, optionsOf, place, type VarlenCase } from './varlenCase.js';
import { withGaps } from './withGaps.js';

// Weights by an lse of the reference, so that what is compared depends on attn_weights alone. Gaps in tensors hold NaN,
// as do all slots that no key is in.

/** Computes weights of a batch that `attnVarlen` or `attn` takes, and compares with the reference. */
export async function checkVarlenWeights(runtime: Runtime, varlen: VarlenCase): Promise<void> {
  const { device } = runtime;
  const { lengths, gap = 0, dense = false } = varlen;
  const inputs = draw(varlen);
  const args = { ...optionsOf(varlen), ...inputs };
  const lse = rounded(attnVarlenReference(args).lse);
  const { args: placed, lent } = place(device, varlen, inputs);
  const { out: _out, cuSeqlensQ, cuSeqlensK, maxSeqlenQ, maxSeqlenK, ...whole } = placed;
  const given = dense
    ? denseArgs(whole, lengths.length)
    : {
        ...whole,
        cuSeqlensQ,
        cuSeqlensK,
        ...(maxSeqlenQ !== undefined && { maxSeqlenQ }),
        ...(maxSeqlenK !== undefined && { maxSeqlenK }),
      };
  const placedLse = dense ? sequencesFirst(lse, lengths.length) : lse;
  await check(runtime, {
    given,
    lse: upload(device, 'f32', placedLse.shape, placedLse.data, withGaps(placedLse.shape, gap)),
    rows: drawRows(lse.shape[1]!, varlen.seed),
    gap,
    lent,
    want: (rows, nKeys) => ({ weights: attnWeightsReference({ ...args, rows, lse, nKeys }), lse }),
  });
}

/** The same of a batch over a cache, after the new tokens were appended. */
export async function checkKvCacheWeights(runtime: Runtime, kvCase: KvCacheCase): Promise<void> {
  const { device } = runtime;
  const inputs = drawKvCache(kvCase);
  const args = referenceArgs(kvCase, inputs);
  const appended = attnWithKvCacheReference(args);
  const lse = rounded(appended.lse);
  const placed = withKeys(inputs, appended.kCache);
  const { kCache } = placed;
  const { args: given, lent } = placeKvCache(device, kvCase, placed);
  await check(runtime, {
    given,
    lse: upload(device, 'f32', lse.shape, lse.data),
    rows: drawRows(elementCount(inputs.q.shape.slice(0, -2)), kvCase.seed),
    gap: 0,
    lent,
    want: (rows, nKeys) => ({ weights: attnWeightsReference({ ...args, kCache, rows, lse, nKeys }), lse }),
  });
}

/** The inputs with other keys. A quantised cache has these as codes, too, and of the keys what they stand for. */
function withKeys(inputs: KvCacheInputs, kCache: HostTensor): KvCacheInputs {
  const { quantised } = inputs;
  if (!quantised) return { ...inputs, kCache };
  const { dtype, scaleDType, scales } = quantised.k;
  const headScales = dtype === 'e4m3' ? Array.from(scales.data) : undefined;
  const k = quantiseCache(dtype, kCache, { scaleDType, headScales });
  return { ...inputs, kCache: k.values, quantised: { ...quantised, k } };
}

interface Check {
  readonly given: Omit<AttnWeightsArgs, keyof ChosenRows>;
  readonly lse: Tensor;
  readonly rows: readonly number[];
  /** If there are gaps, weights are written to a tensor that has gaps, and more keys than are needed. */
  readonly gap: number;
  readonly lent: readonly Tensor[];
  readonly want: (
    rows: readonly number[],
    nKeys: number,
  ) => { readonly weights: HostTensor; readonly lse: HostTensor };
}

async function check(runtime: Runtime, { given, lse, rows, gap, lent, want }: Check): Promise<void> {
  const { device } = runtime;
  const args = { ...given, lse, rows } as AttnWeightsArgs;
  let { weights } = attnWeights(runtime, args);
  if (gap) {
    const shape = weights.shape.map((size, axis) => (axis === 2 ? size + 3 : size));
    weights.buffer.destroy();
    const zeros = new Float32Array(elementCount(shape));
    weights = upload(device, 'f32', shape, zeros.fill(NaN), withGaps(shape, gap));
    attnWeights(runtime, { ...args, weights });
  }
  const actual = await download(device, weights);
  const gaps = gap ? await downloadGaps(device, weights) : [];
  for (const { buffer } of [...lent, lse, weights]) buffer.destroy();
  const expected = want(rows, weights.shape[2]!);
  assert(expected.weights.shape.join() === weights.shape.join(), `weights are [${weights.shape.join(', ')}]`);
  checkWeights({ actual, reference: expected.weights.data }, expected.lse.data);
  assert(gaps.every(Number.isNaN), 'something beside the weights was written');
}

/** Both ends, some of what is between in any order, and one of them twice. */
function drawRows(nRows: number, seed = 1): readonly number[] {
  if (nRows === 0) return [];
  const random = new Random(seed);
  const some = Array.from({ length: 7 }, () => random.int(0, nRows));
  return [nRows - 1, ...some, 0, some[0]!];
}

/** As a kernel gives it. */
function rounded({ shape, data }: HostTensor): HostTensor {
  return { shape, data: Float32Array.from(data) };
}

/** [Hq, B · Sq] → [B, Hq, Sq] */
function sequencesFirst({ shape, data }: HostTensor, batch: number): HostTensor {
  const [nHeads, tokens] = shape as [number, number];
  const moved = [batch, nHeads, tokens / batch];
  const strides = contiguousStrides(moved) as [number, number, number];
  const to = new Float32Array(data.length);
  for (let head = 0; head < nHeads; head++)
    for (let token = 0; token < tokens; token++) {
      const [b, i] = [Math.floor(token / moved[2]!), token % moved[2]!];
      to[b * strides[0] + head * strides[1] + i] = data[head * tokens + token]!;
    }
  return { shape: moved, data: to };
}
