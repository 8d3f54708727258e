import { bytesPerElement, type DType } from '../../src/core/dtype.js';
import { contiguousStrides, elementCount, type Tensor } from '../../src/core/tensor.js';
import {
  copyPages,
  mergeStates,
  PagedKvCache,
  read,
  readInts,
  tensorFrom,
  type Runtime,
} from '../../src/index.js';
import type { Random } from '../../tools/random.js';
import { fakeBuffer } from '../runtime/fakeDevice.js';
import { drawSizes, DTYPES, lengths, type Args, type Maker, type PublicCall } from './callMaker.js';

export function mergeCall(maker: Maker): PublicCall {
  const { random, tensor } = maker;
  const { batch, nHeads, headDim, dtype } = drawSizes(maker);
  const isRagged = random.boolean();
  const nTokens = random.int(0, 6);
  const out = isRagged ? [nTokens, nHeads, headDim] : [batch, nTokens, nHeads, headDim];
  const lse = isRagged ? [nHeads, nTokens] : [batch, nHeads, nTokens];
  const type = random.boolean() ? dtype : undefined;
  const stack = (dtypeOf: DType, shape: readonly number[], n: number): Tensor[] => {
    const [whole, size] = [
      tensor(dtypeOf, [n, ...shape], { offset: 0, strides: undefined as never }),
      elementCount(shape),
    ];
    return Array.from({ length: n }, (_, i) => ({
      buffer: whole.buffer,
      dtype: dtypeOf,
      shape: [...shape],
      offset: i * size,
    }));
  };
  const n = random.int(1, 5);
  const stacked = random.boolean();
  const outs = stacked
    ? stack(dtype, out, n)
    : Array.from({ length: n }, () => tensor(type ?? random.pick(DTYPES), out));
  const lses = stacked ? stack('f32', lse, n) : Array.from({ length: n }, () => tensor('f32', lse));
  const args = {
    parts: outs.map((part, i) => ({ out: part, lse: lses[i]! })),
    ...(random.boolean() && { out: tensor(outs[0]!.dtype, out) }),
    ...(random.boolean() && { lse: tensor('f32', lse) }),
  };
  return { name: 'mergeStates', args, run: (runtime, given) => mergeStates(runtime, given as never) };
}

function drawPairs(random: Random, nPages: number): unknown {
  const pairs = Array.from({ length: random.int(0, 4) }, () => [
    random.int(0, nPages),
    random.int(0, nPages),
  ]);
  return random.boolean() ? pairs : Int32Array.from(pairs.flat());
}

export function copyCall({ random }: Maker): PublicCall {
  const dtype = random.pick(DTYPES);
  const nPages = random.int(1, 6);
  const shape = [nPages, random.int(1, 4), random.int(1, 3), random.pick([2, 8])];
  const pageElements = elementCount(shape.slice(1));
  const pool = (): Tensor => ({
    buffer: fakeBuffer(Math.ceil((elementCount(shape) * bytesPerElement(dtype)) / 4) * 4 + 256),
    dtype,
    shape: [...shape],
    ...(random.boolean() && { strides: [pageElements, ...contiguousStrides(shape.slice(1))] }),
  });
  const args = {
    pools: random.boolean() ? pool() : Array.from({ length: random.int(0, 4) }, pool),
    pairs: drawPairs(random, nPages),
  };
  return { name: 'copyPages', args, run: (runtime, given) => copyPages(runtime, given as never) };
}

export function cacheCall({ random }: Maker): PublicCall {
  const size = random.pick([{ nPages: 5 }, { tokens: 40 }, { bytes: 2 ** 16 }]);
  const args = {
    options: {
      nLayers: random.int(1, 4),
      nKvHeads: random.int(1, 3),
      headDim: random.pick([8, 32, 5]),
      ...(random.boolean() && { headDimV: 16 }),
      dtype: random.pick(DTYPES),
      pageSize: random.pick([1, 4, 16]),
      ...size,
    },
    layer: 0,
    pairs: drawPairs(random, 3),
    pages: random.boolean() ? [0, 1] : [],
    saved: [] as unknown[],
    moves: { swapsOut: random.pick([[], [[0, 1]]]), copies: drawPairs(random, 3), swapsIn: [] as unknown },
  };
  const run = async (runtime: Runtime, given: Args): Promise<void> => {
    const cache = await PagedKvCache.create(runtime, given['options'] as never);
    try {
      cache.layer(given['layer'] as never);
      cache.copyPages(given['pairs'] as never);
      const { pages, saved } = given;
      if (Array.isArray(pages) && pages.length < 9 && Array.isArray(saved) && saved.length === 0)
        saved.push(...pages.map(() => new Uint8Array(cache.pageBytes)));
      cache.writePages(pages as never, saved as never);
      await cache.movePages(given['moves'] as never);
    } finally {
      cache.destroy();
    }
  };
  return { name: 'PagedKvCache', args, run };
}

export function tensorCall({ random }: Maker): PublicCall {
  const args = { shape: lengths(random, 3), dtype: random.pick(DTYPES) };
  const run = (runtime: Runtime, { shape, dtype }: Args): unknown => ({
    out: runtime.createTensor(shape as never, dtype as never),
  });
  return { name: 'createTensor', args, run };
}

export function fromCall({ random }: Maker): PublicCall {
  const [dtype, data] = random.pick([
    ['f16', [0, 1.5, 2, 3, 4, 5]],
    ['bf16', Float32Array.of(0, 1, 2, 3, 4, 5)],
    ['f32', new Uint8Array(24)],
    ['i32', Int32Array.of(0, 1, 2, 3, 4, 5)],
    ['u32', [0, 1, 2, 3, 4, 5]],
  ]);
  const args = { data, options: { shape: random.pick([[6], [2, 3], [1, 6, 1]]), dtype } };
  const run = (runtime: Runtime, given: Args): unknown => ({
    out: tensorFrom(runtime, given['data'] as never, given['options'] as never),
  });
  return { name: 'tensorFrom', args, run };
}

export function readCall({ random, tensor }: Maker): PublicCall {
  const dtype = random.pick(['f32', 'f16', 'bf16', 'i32', 'u32'] as const);
  const args = {
    tensor: tensor(
      dtype,
      lengths(random, random.int(0, 4)).map((size) => size + 1),
    ),
  };
  const reader = dtype === 'i32' || dtype === 'u32' ? readInts : read;
  const run = async (runtime: Runtime, given: Args): Promise<void> => {
    await reader(runtime, given['tensor'] as never);
  };
  return { name: 'read', args, run };
}
