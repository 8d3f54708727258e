import type { PagedKvCacheOptions } from '../../src/cache/pagedKvCache.js';
import { attnVarlen, type Runtime, type Tensor } from '../../src/index.js';
import { downloadBuffer } from '../../tools/deviceTensor.js';
import { assert } from '../platforms/gpuCase.js';
import { draw, place, type VarlenCase } from '../attention/varlenCase.js';

/** All cases use one kernel, since each device compiles it again. */
export const SMALL: VarlenCase = {
  why: 'small',
  lengths: [
    [4, 33],
    [1, 40],
  ],
  heads: [4, 2],
  headDim: 32,
  dtype: 'f32',
  causal: true,
};

export const CACHE = {
  nLayers: 2,
  nKvHeads: 1,
  headDim: 32,
  dtype: 'f32',
  pageSize: 4,
  nPages: 8,
} as const satisfies PagedKvCacheOptions;

export async function bitsOf({ device }: Runtime, { buffer }: Tensor): Promise<Uint32Array> {
  return new Uint32Array(await downloadBuffer(device, buffer));
}

export function assertRefused(sentence: string, code: string, ...words: readonly string[]): void {
  assert(sentence.startsWith(`${code}: `), `not of the code ${code}: ${sentence}`);
  for (const word of words) assert(sentence.includes(word), `no "${word}" in: ${sentence}`);
}

/** Fails unless a call computes something, as if nothing had failed before. */
export async function assertFine(runtime: Runtime): Promise<void> {
  const { args } = place(runtime.device, SMALL, draw(SMALL));
  const { out } = attnVarlen(runtime, args);
  await runtime.done();
  const bits = await bitsOf(runtime, out);
  assert(
    bits.some((word) => word !== 0),
    'nothing was computed',
  );
}
