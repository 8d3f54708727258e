import { expect, test } from 'vitest';
import { quantiseHead, turnHead } from '../../src/core/kvFormats.js';
import {
  attnVarlenReference,
  attnWeightsReference,
  attnWithKvCacheReference,
  type HostTensor,
} from '../../src/reference/attention.js';
import { turnHeads } from '../../src/reference/turned.js';
import { Random } from '../../tools/random.js';
import { elementCount } from '../../src/core/tensor.js';

function turned(...head: number[]): number[] {
  const data = Float64Array.from(head);
  turnHead(data);
  return Array.from(data, (x) => Math.round(x * 1e6) / 1e6);
}

test('H[i][j] is (−1)^popcount(i & j) / √n', () => {
  expect(turned(3)).toEqual([3]);
  expect(turned(Math.SQRT2, 0)).toEqual([1, 1]);
  expect(turned(0, Math.SQRT2)).toEqual([1, -1]);
  expect(turned(2, 0, 0, 0)).toEqual([1, 1, 1, 1]);
  expect(turned(0, 2, 0, 0)).toEqual([1, -1, 1, -1]);
  expect(turned(0, 0, 2, 0)).toEqual([1, 1, -1, -1]);
  expect(turned(0, 0, 0, 2)).toEqual([1, -1, -1, 1]);
  const parity = (i: number): number => (i === 0 ? 0 : (i & 1) ^ parity(i >> 1));
  for (let j = 0; j < 16; j++) {
    const column = turned(...Array.from({ length: 16 }, (_, i) => (i === j ? 4 : 0)));
    expect(column).toEqual(Array.from({ length: 16 }, (_, i) => (parity(i & j) ? -1 : 1)));
  }
});

test('twice is the head again', () => {
  const head = Float64Array.from(new Random(1).normals(128));
  const again = head.slice();
  turnHead(again);
  turnHead(again);
  again.forEach((x, i) => expect(x).toBeCloseTo(head[i]!, 12));
});

const random = new Random(3);
const normals = (...shape: number[]): HostTensor => ({
  shape,
  data: Float64Array.from(random.normals(elementCount(shape))),
});

/** Angles by position, as cosines and sines. */
function anglesOf(data: Float32Array) {
  const of = (f: (x: number) => number): HostTensor => ({ data: data.map(f), shape: [9, 4] });
  return { rotaryCos: of(Math.cos), rotarySin: of(Math.sin) };
}

const cached = {
  q: normals(1, 3, 4, 8),
  kCache: normals(1, 9, 2, 8),
  vCache: normals(1, 9, 2, 4),
  k: normals(1, 3, 2, 8),
  v: normals(1, 3, 2, 4),
  cacheSeqlens: [5],
  causal: true,
  ...anglesOf(random.uniforms(36, 0, 6)),
};

function expectNear(got: HostTensor, want: HostTensor): void {
  expect(got.shape).toEqual(want.shape);
  got.data.forEach((x, i) => expect(x).toBeCloseTo(want.data[i]!, 6));
}

test('attention to a turned cache is that to the cache, and new tokens are turned after they are rotated', () => {
  const plain = attnWithKvCacheReference(cached);
  const inside = attnWithKvCacheReference({
    ...cached,
    kCache: turnHeads(cached.kCache),
    vCache: turnHeads(cached.vCache),
    kvRotation: 'hadamard',
  });
  expectNear(inside.out, plain.out);
  expectNear(inside.lse, plain.lse);
  expectNear(turnHeads(inside.kCache), plain.kCache);
  expectNear(turnHeads(inside.vCache), plain.vCache);
  const { lse } = plain;
  const weights = attnWeightsReference({ ...cached, kCache: plain.kCache, rows: [0, 2], lse });
  const ofTurned = { ...cached, kCache: inside.kCache, kvRotation: 'hadamard' } as const;
  expectNear(attnWeightsReference({ ...ofTurned, rows: [0, 2], lse }), weights);
});

test('pages of attnVarlen likewise', () => {
  const args = { cuSeqlensQ: [0, 1, 3], cuSeqlensK: [0, 4, 9] };
  const [q, k, v] = [normals(3, 2, 16), normals(9, 1, 16), normals(9, 1, 2)];
  const plain = attnVarlenReference({ q, k, v, ...args });
  const inside = { q, k: turnHeads(k), v: turnHeads(v), ...args, kvRotation: 'hadamard' } as const;
  expectNear(attnVarlenReference(inside).out, plain.out);
  expectNear(attnVarlenReference(inside).lse, plain.lse);
});

test('an outlier takes less of the digits of i4', () => {
  const head = Float64Array.from(new Random(5).normals(128));
  head[77] = 30;
  const errorOf = (x: Float64Array): number => {
    const { codes, scales } = quantiseHead('i4', x);
    return Math.hypot(...codes.map((code, i) => code * scales[Math.floor(i / 32)]! - x[i]!));
  };
  const plain = errorOf(head);
  turnHead(head);
  expect(errorOf(head)).toBeLessThan(0.75 * plain);
});
