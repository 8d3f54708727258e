import { describe, expect, test } from 'vitest';
import { copyPages, type CopyPagesArgs } from '../../src/cache/copyPages.js';
import { createRuntime, type Tensor } from '../../src/index.js';
import { groupPools } from '../../src/kernels/copyPages.js';
import { fakeBuffer, fakeDevice, fakeTensor } from '../runtime/fakeDevice.js';
import { refusal } from '../check/refusal.js';

describe('groups of pools', () => {
  const buffer = fakeBuffer(2 ** 20);
  const pool = (offset: number, rest: Partial<Tensor> = {}): Tensor =>
    fakeTensor('f16', [8, 4, 2, 16], { buffer, offset, ...rest });

  test.each([
    { pools: [pool(0), pool(1024), pool(2048)], groups: [3], why: 'alike, in one buffer' },
    { pools: [pool(0), pool(1024, { buffer: fakeBuffer(4096) })], groups: [1, 1], why: 'two buffers' },
    {
      pools: [pool(0), pool(1024, { shape: [8, 4, 2, 8] }), pool(2048)],
      groups: [2, 1],
      why: 'smaller pages',
    },
    { pools: [pool(0), pool(1024, { dtype: 'bf16' })], groups: [2], why: 'bits are bits' },
    { pools: [pool(0), pool(1026)], groups: [1, 1], why: 'one is not at a multiple of 16 bytes' },
    { pools: [pool(0), pool(128 * 1024), pool(2048)], groups: [2, 1], why: 'too far away for one binding' },
    {
      pools: [pool(0), pool(1024, { shape: [1, 4, 2, 16] })],
      groups: [1],
      why: 'nothing to copy in one page',
    },
    { pools: [pool(0, { shape: [8, 0, 2, 16] })], groups: [], why: 'nothing in a page' },
  ])('$why', ({ pools, groups }) => {
    const maxBindingBytes = 2 ** 16;
    const found = groupPools(pools, maxBindingBytes);
    expect(found.map((group) => group.pools.length)).toEqual(groups);
    for (const { start, end } of found) {
      expect(start % 256).toBe(0);
      expect(end - start).toBeLessThanOrEqual(maxBindingBytes);
    }
  });
});

describe('copyPages', () => {
  const runtime = createRuntime(fakeDevice());
  const pool = fakeTensor('f16', [8, 4, 2, 16]);
  const copy = (change: object) =>
    copyPages(runtime, { pools: [pool], pairs: [[0, 1]], ...change } as CopyPagesArgs);
  const message = (change: object) => refusal(() => copy(change));

  test('arguments', () => {
    expect([
      message({ pool }),
      message({ pools: undefined }),
      message({ pools: [pool, fakeBuffer(4096)] }),
      message({ pools: [pool, fakeTensor('f16', [8, 128])] }),
      message({ pools: fakeTensor('f16', [8, 4, 2, 16], { offset: 0.5 }) }),
      message({ pass: {} }),
      message({ pairs: undefined }),
      message({ pairs: [0, 1] }),
      message({ pairs: [[0, 1], [2]] }),
      message({ pairs: [[0, 1.5]] }),
      message({ pairs: [[0, -1]] }),
      message({ pairs: Int32Array.of(0, 1, 2) }),
      message({ pairs: Int32Array.of(0, 1, -1, 2) }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: copyPages: there is no argument pool. There are pools, pairs, pass.",
        "argument: copyPages: pools must be a tensor or an array of tensors, not undefined.",
        "argument: copyPages: pools[1] must be a tensor, { buffer, dtype, shape }, not a plain object.",
        "shape: copyPages: pools[1] must have the shape [P, pageSize, Hkv, D], not [8, 128].",
        "shape: copyPages: the offset of pools must be a whole number ≥ 0, not 0.5.",
        "argument: copyPages: pass must be a GPUComputePassEncoder, not a plain object.",
        "argument: copyPages: pairs must be [[from, to], ...], an Int32Array or a Uint32Array, not undefined.",
        "argument: copyPages: pairs[0] must be [from, to], not 0.",
        "argument: copyPages: pairs[1] must be [from, to], not [2].",
        "argument: copyPages: pairs[0] must be the numbers of two pages, not [0, 1.5].",
        "argument: copyPages: pairs[0] must be the numbers of two pages, not [0, -1].",
        "argument: copyPages: pairs must be two numbers a copy, from and to, but there are 3.",
        "argument: copyPages: pairs[1] must be the numbers of two pages, not [-1, 2].",
      ]
    `);
  });

  test('pages that do not exist', () => {
    const [one, none] = [fakeTensor('f16', [1, 4, 2, 16]), fakeTensor('f16', [0, 4, 2, 16])];
    expect([
      message({ pairs: [[0, 1], [8, 2]] }), // prettier-ignore
      message({ pairs: Uint32Array.of(0, 8) }),
      message({ pools: one }),
      message({ pools: [pool, none] }),
    ]).toMatchInlineSnapshot(`
      [
        "length: copyPages: pairs[1] copies page 8 to page 2, but pools[0] has pages 0 to 7.",
        "length: copyPages: pairs[0] copies page 0 to page 8, but pools[0] has pages 0 to 7.",
        "length: copyPages: pairs[0] copies page 0 to page 1, but pools has pages 0 to 0.",
        "length: copyPages: pairs[0] copies page 0 to page 1, but pools[1] has no pages.",
      ]
    `);
  });

  test('pages that cannot be copied word by word', () => {
    const strided = (dtype: 'f16' | 'f32', strides: number[], rest: Partial<Tensor> = {}) =>
      message({ pools: fakeTensor(dtype, [8, 3, 1, 5], { strides, ...rest }) });
    expect([
      strided('f16', [16, 5, 5, 1], { offset: 1 }),
      strided('f16', [15, 5, 5, 1]),
      strided('f16', [20, 6, 5, 1]),
      strided('f32', [14, 5, 5, 1]),
      message({ pools: fakeTensor('f32', [8, 3, 2, 5], { strides: [40, 10, 6, 1] }) }),
    ]).toMatchInlineSnapshot(`
      [
        "shape: copyPages: pools must begin at a whole word of 4 bytes; its offset of 1 elements does not. Make it even.",
        "shape: copyPages: pages of pools must begin at whole words of 4 bytes; its page stride of 15 elements does not let them. Pad pages to 16.",
        "shape: copyPages: each page of pools must be one piece of memory, but the strides of [8, 3, 1, 5] are [20, 6, 5, 1]. Only pages may have gaps between them.",
        "shape: copyPages: pages of pools overlap: each has 15 elements, but the next begins after 14.",
        "shape: copyPages: each page of pools must be one piece of memory, but the strides of [8, 3, 2, 5] are [40, 10, 6, 1]. Only pages may have gaps between them.",
      ]
    `);
  });

  test('pools that share memory', () => {
    const shared = fakeBuffer(8192);
    const view = (offset: number, pageStride: number, dim = 16) =>
      fakeTensor('f16', [8, 4, 1, dim], { buffer: shared, offset, strides: [pageStride, dim, dim, 1] });
    const both = (a: Tensor, b: Tensor) => message({ pools: [pool, a, b], pairs: [] });
    expect([both(view(0, 64), view(0, 64)), both(view(0, 128), view(66, 130))]).toMatchInlineSnapshot(`
      [
        "buffer: copyPages: pools[1] and pools[2] overlap. Pass each pool once; pools may be interleaved only with the same page stride.",
        "buffer: copyPages: pools[1] and pools[2] overlap. Pass each pool once; pools may be interleaved only with the same page stride.",
      ]
    `);
    for (const [a, b] of [
      [view(0, 128), view(62, 128)],
      [view(62, 128), view(0, 128)],
      [view(0, 128), view(64 + 256 + 2, 128)],
      [view(0, 64), view(510, 64)],
    ] as const) {
      expect(both(a, b)).toContain('overlap');
    }
    for (const [a, b] of [
      [view(0, 128), view(64, 128)],
      [view(64, 128), view(0, 128)],
      [view(0, 128), view(64 + 256, 128)],
      [view(0, 128), view(96, 128, 8)],
      [view(0, 64), view(512, 64)],
      [view(0, 128), { ...view(0, 128), buffer: fakeBuffer(8192) }],
    ] as const) {
      copy({ pools: [pool, a, b], pairs: [] });
    }
  });

  test('nothing to copy asks nothing of the device, in a pass or without', () => {
    const pass = { dispatchWorkgroups: () => {} };
    for (const pairs of [[], [[3, 3]], new Uint32Array()]) {
      copy({ pairs });
      copy({ pairs, pass });
    }
    copy({ pools: [] });
    copy({ pools: fakeTensor('f32', [8, 4, 0, 16]) });
  });

  test('a destroyed runtime says so', () => {
    const destroyed = createRuntime(fakeDevice());
    destroyed.destroy();
    expect(refusal(() => copyPages(destroyed, {} as CopyPagesArgs))).toMatchInlineSnapshot(
      `"device: copyPages: the runtime cannot be used any more, since it was destroyed."`,
    );
  });
});
