import { expect, test } from 'vitest';
import { eitherWay } from '../../src/attention/matrixVariants.js';
import { attnVariants } from '../../src/index.js';
import { matrixTest } from '../../src/plan/knownAttention.js';
import type { Variant } from '../../src/runtime/pipelines.js';
import { variantName } from '../../src/wgsl/link.js';
import { MATRIX_KERNEL, started } from '../runtime/matrixDevice.js';

const variant = (ROWS: number): Variant => ({ kernel: MATRIX_KERNEL, spec: { ROWS } });

test('variants are marked that are needed only with matrices, or only without', () => {
  const marked = eitherWay([variant(1), variant(2), variant(1)], [variant(3), variant(1), variant(3)]);
  expect(marked).toEqual([
    variant(1),
    { ...variant(2), when: { matrices: false, test: matrixTest } },
    { ...variant(3), when: { matrices: true, test: matrixTest } },
  ]);
});

test('where kernels are the same with matrices and without, none is marked', () => {
  expect(eitherWay([variant(1), variant(2)], [variant(2), variant(1)])).toEqual([variant(1), variant(2)]);
});

test('attnVariants gives each variant once, and has none twice that is needed either way', async () => {
  const { runtime } = started();
  const variants = attnVariants(runtime, { headDim: 64, dtype: 'f16', group: 4, paged: true });
  const names = variants.map(({ kernel, spec }) => variantName(kernel, spec));
  expect(new Set(names).size).toBe(names.length);
  const without = attnVariants(started({ tier: 'T1' }).runtime, {
    headDim: 64,
    dtype: 'f16',
    group: 4,
    paged: true,
  }).map(({ kernel, spec }) => variantName(kernel, spec));
  // What is not for matrices only is what a runtime without them needs.
  const plain = variants.filter(({ when }) => !when?.matrices);
  expect(plain.map(({ kernel, spec }) => variantName(kernel, spec))).toEqual(without);
  await runtime.prepare(variants);
});
