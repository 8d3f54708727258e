import { describe, expect, test } from 'vitest';
import { link, variantName } from '../src/kernels/link.js';
import { unroll } from '../src/kernels/unroll.js';

const tidy = (code: string) => code.replace(/\s+/g, ' ').trim();

describe('unroll', () => {
  test('copies the body with the counter as a number', () => {
    const source = '@unroll for (var i = 0u; i < N; i++) { total += f(i) * index; }';
    expect(tidy(unroll(source, { N: 2 }))).toBe('{ total += f(0u) * index; } { total += f(1u) * index; }');
  });

  test('loops within loops, and what follows', () => {
    const source =
      '@unroll for (var i = 0u; i < 2; i++) { @unroll for (var j = 0u; j < M; j++) { a(i, j); } } b();';
    expect(tidy(unroll(source, { M: 2 }))).toBe(
      '{ { a(0u, 0u); } { a(0u, 1u); } } { { a(1u, 0u); } { a(1u, 1u); } } b();',
    );
  });

  test('a loop of no turns vanishes', () => {
    expect(unroll('a(); @unroll for (var i = 0u; i < N; i++) { b(i); } c();', { N: 0 })).toBe('a();  c();');
  });

  test('arrays of registers become variables, the outer index first', () => {
    const source = '@registers var a: array<array<vec4f, INNER>, OUTER>; a[1u][0u] += a[0u][1u];';
    expect(tidy(unroll(source, { INNER: 2, OUTER: 2 }))).toBe(
      'var a_0_0: vec4f = vec4f(); var a_0_1: vec4f = vec4f(); var a_1_0: vec4f = vec4f(); var a_1_1: vec4f = vec4f(); a_1_0 += a_0_1;',
    );
  });

  test('an index may be divided by a size', () => {
    const source =
      '@registers var a: array<f32, 2>; @unroll for (var r = 0u; r < 4; r++) { f(a[r / LANES], r % LANES); }';
    expect(tidy(unroll(source, { LANES: 2 }))).toBe(
      'var a_0: f32 = f32(); var a_1: f32 = f32(); { f(a_0, 0u % LANES); } { f(a_0, 1u % LANES); } { f(a_1, 2u % LANES); } { f(a_1, 3u % LANES); }',
    );
  });

  test('a condition before the mark holds for every variable', () => {
    expect(tidy(unroll('@if(X) @registers var a: array<f32, 2>;', {}))).toBe(
      '@if(X) var a_0: f32 = f32(); @if(X) var a_1: f32 = f32();',
    );
  });

  test('an unknown size and an open block are told', () => {
    expect(() => unroll('@unroll for (var i = 0u; i < N; i++) { }', {})).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: N is not among the constants of the kernel]`,
    );
    expect(() =>
      unroll('@unroll for (var i = 0u; i < 2; i++) { a();', {}),
    ).toThrowErrorMatchingInlineSnapshot(`[SyntaxError: a block is not closed:  a();]`);
  });
});

describe('link', () => {
  const modules = {
    './double.wgsl': 'fn double(x: f32) -> f32 { return 2.0 * x; }\nfn unused() {}',
    './root.wgsl': `
import package::double::double;
import constants::SIZE;
@if(WIDE) const STEP = 4u;
@else const STEP = 1u;
fn root() -> f32 { return double(f32(SIZE * STEP)); }`,
  };
  const root = { name: 'root', modules };

  test('fills in imports, conditions and constants', () => {
    const wide = link(root, { SIZE: 3, WIDE: true });
    expect(wide).toContain('const STEP = 4u;');
    expect(wide).toContain('const SIZE = 3u;');
    expect(wide).toContain('fn double(');
    expect(wide).not.toContain('unused');
    expect(link(root, { SIZE: 3 })).toContain('const STEP = 1u;');
  });

  test('a variant has one name, whatever the order of its parts', () => {
    const name = (spec: Parameters<typeof variantName>[1]) => variantName({ name: 'root' }, spec);
    expect(name({ B: true, A: 2, C: false })).toBe('root{A=2 B}');
    expect(name({ A: 2, B: true })).toBe(name({ B: true, A: 2, C: false }));
  });
});
