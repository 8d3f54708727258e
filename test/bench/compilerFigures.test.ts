import { expect, test } from 'vitest';
import { readFigures } from '../../bench/compiler/figures.js';
import { compiledVariants } from '../../bench/compiler/variants.js';

const rows = readFigures();

test('the figures of each variant are of its WGSL', () => {
  const known = new Map(rows.map(({ label, hash }) => [label, hash]));
  const variants = compiledVariants();
  const changed = variants.filter(({ label, hash }) => known.get(label) !== hash).map(({ label }) => label);
  expect(
    changed,
    'The WGSL of these variants has changed. Make new figures, as bench/README.md says, and look at what got worse.',
  ).toEqual([]);
  expect([...known.keys()]).toEqual(variants.map(({ label }) => label));
});

test('no variant spills registers or keeps arrays in memory', () => {
  expect(rows.filter(({ figures }) => figures.spills > 0 || figures.scratch > 0)).toEqual([]);
});

test('attn_decode of halves, and of quantised caches, leaves room for eight subgroups, which hide the time of loads', () => {
  const decode = rows.filter(({ label }) => /^T1 attn_decode D(64|128) b?f16 /.test(label));
  expect(decode.length).toBe(16 + 18);
  // Over i4 the products of eight heads take longer than the loads.
  const needed = (label: string) => (label.includes('group 8 cache i4') ? 6 : 8);
  expect(decode.filter(({ label, figures }) => figures.waves < needed(label))).toEqual([]);
});

test('a prompt over a quantised cache costs what one over its own type does, without matrices', () => {
  const costOf = new Map(rows.map(({ label, figures }) => [label, figures.cost]));
  const quantised = rows.filter(({ label }) => / attn_prefill .* cache /.test(label));
  expect(quantised.length).toBe(12);
  for (const { label, figures } of quantised)
    expect(figures.cost, label).toBeLessThan(1.1 * costOf.get(label.replace(/ cache .*/, ''))!);
});
