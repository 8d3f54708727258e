import { describe, expect, test } from 'vitest';
import { linkModules } from '../../tools/wgsl/modules.js';
import type { Spec } from '../../src/wgsl/kernel.js';
import { link, variantName } from '../../src/wgsl/link.js';

const tidy = (code: string) => code.replace(/\s+/g, ' ').trim();

/** What the build makes of files by name, of which `root` is the kernel. */
function modulesOf(files: Readonly<Record<string, string>>) {
  const modules = linkModules('root', (name) => {
    const text = files[name];
    if (text === undefined) throw new Error('no such file');
    return { path: `${name}.wgsl`, text };
  });
  return modules.map(({ module }) => module);
}

function linked(files: Readonly<Record<string, string>>, spec: Spec = {}): string {
  return tidy(link({ name: 'root', modules: modulesOf(files) }, spec));
}

/** Statements of a kernel that has these constants. */
function linkedBody(body: string, spec: Spec = {}): string {
  const constants = Object.entries(spec).flatMap(([name, value]) =>
    typeof value === 'number' && new RegExp(`\\b${name}\\b`).test(body) ? [name] : [],
  );
  const imported = constants.length > 0 ? `import constants::{${constants.join(', ')}};` : '';
  const code = linked({ root: `${imported} fn root() { ${body} }` }, spec);
  return /fn root\(\) \{ ?(.*?) ?\}$/.exec(code)![1]!;
}

describe('loops that are written out', () => {
  test('copies the body with the counter as a number', () => {
    const body = '@unroll for (var i = 0u; i < N; i++) { total += f(i) * index; }';
    expect(linkedBody(body, { N: 2 })).toBe('{ total += f(0u) * index; } { total += f(1u) * index; }');
  });

  test('loops within loops, and what follows', () => {
    const body =
      '@unroll for (var i = 0u; i < 2; i++) { @unroll for (var j = 0u; j < M; j++) { a(i, j); } } b();';
    expect(linkedBody(body, { M: 2 })).toBe(
      '{ { a(0u, 0u); } { a(0u, 1u); } } { { a(1u, 0u); } { a(1u, 1u); } } b();',
    );
  });

  test('a loop of no turns vanishes', () => {
    expect(linkedBody('a(); @unroll for (var i = 0u; i < N; i++) { b(i); } c();', { N: 0 })).toBe(
      'a(); c();',
    );
  });

  test('a member that is called like the counter stays', () => {
    expect(linkedBody('@unroll for (var x = 0u; x < 1; x++) { a.x += x; }')).toBe('{ a.x += 0u; }');
  });

  test('conditions within', () => {
    const body = '@unroll for (var i = 0u; i < 2; i++) { @if(A) a(i); @if(!A) { b(i); } }';
    expect(linkedBody(body, { A: true })).toBe('{ a(0u); } { a(1u); }');
    expect(linkedBody(body)).toBe('{ { b(0u); } } { { b(1u); } }');
  });
});

describe('loops that stay loops, with LOOPS', () => {
  test('a loop ends by a break, so that compilers do not see its length', () => {
    const body = '@unroll for (var i = 0u; i < N; i++) { total += f(i) * index; }';
    expect(linkedBody(body, { N: 2, LOOPS: true })).toBe(
      'for (var i = 0u; i < 0x7fffffffu; i++) { if (i >= 2u) { break; } { total += f(i) * index; } }',
    );
  });

  test('loops within loops, and what follows', () => {
    const body =
      '@unroll for (var i = 0u; i < 2; i++) { @unroll for (var j = 0u; j < M; j++) { a(i, j); } } b(i);';
    expect(linkedBody(`let i = 5u; ${body}`, { M: 3, LOOPS: true })).toBe(
      'let i = 5u; for (var i = 0u; i < 0x7fffffffu; i++) { if (i >= 2) { break; } { for (var j = 0u; j < 0x7fffffffu; j++) { if (j >= 3u) { break; } { a(i, j); } } } } b(i);',
    );
  });

  test('arrays stay arrays, of zeros at first, and so do their indices', () => {
    const body =
      '@registers var a: array<array<vec4f, INNER>, OUTER>; @unroll for (var r = 0u; r < 4; r++) { a[0u][r / INNER] += a[1u][r % 2]; }';
    expect(linkedBody(body, { INNER: 2, OUTER: 3, LOOPS: true })).toBe(
      'var a: array<array<vec4f, 2u>, 3u> = array<array<vec4f, 2u>, 3u>(); for (var r = 0u; r < 0x7fffffffu; r++) { if (r >= 4) { break; } { a[0][r/2u] += a[1][r%2]; } }',
    );
  });

  test('the variant has what a loop and the elements of an array name', () => {
    const root =
      'import constants::{N}; struct Band { first: i32 } fn f(i: u32) -> i32 { return i32(i); } fn root() { @registers var b: array<Band, N>; @unroll for (var i = 0u; i < N; i++) { b[i].first = f(i); } }';
    const code = linked({ root }, { N: 2, LOOPS: true });
    expect(code).toContain('struct Band { first: i32 } fn f(i: u32) -> i32 { return i32(i); }');
    expect(code).toContain('var b: array<Band, 2u> = array<Band, 2u>();');
    expect(code).toContain('b[i].first = f(i);');
  });

  test('what a variant lacks has no loops', () => {
    const body =
      '@if(A) { @registers var a: array<f32, N>; @unroll for (var i = 0u; i < N; i++) { a[i] += 1.0; } } b();';
    expect(linkedBody(body, { N: 2, LOOPS: true })).toBe('b();');
    expect(linkedBody(body, { N: 2, LOOPS: true, A: true })).toContain('if (i >= 2u) { break; }');
  });
});

describe('registers', () => {
  test('arrays become variables, the outer index first', () => {
    const body = '@registers var a: array<array<vec4f, INNER>, OUTER>; a[1u][0u] += a[0u][1u];';
    expect(linkedBody(body, { INNER: 2, OUTER: 2 })).toBe(
      'var a_0_0: vec4f = vec4f(); var a_0_1: vec4f = vec4f(); var a_1_0: vec4f = vec4f(); var a_1_1: vec4f = vec4f(); a_1_0 += a_0_1;',
    );
  });

  test('an index may be divided by a size', () => {
    const body =
      '@registers var a: array<f32, 2>; @unroll for (var r = 0u; r < 4; r++) { f(a[r / LANES], r % LANES); }';
    expect(linkedBody(body, { LANES: 2 })).toBe(
      'var a_0: f32 = f32(); var a_1: f32 = f32(); { f(a_0, 0u % LANES); } { f(a_0, 1u % LANES); } { f(a_1, 2u % LANES); } { f(a_1, 3u % LANES); }',
    );
  });

  test('a condition before the mark holds for every variable', () => {
    const body = '@if(X) @registers var a: array<f32, 2>;';
    expect(linkedBody(body, { X: true })).toBe('var a_0: f32 = f32(); var a_1: f32 = f32();');
    expect(linkedBody(body)).toBe('');
  });

  test('elements may be a struct, which the variant then has', () => {
    const root =
      'struct Band { first: i32 } fn root() { @registers var b: array<Band, 1>; b[0u].first = 1; }';
    expect(linked({ root })).toBe(
      'struct Band { first: i32 } fn root() { var b_0: Band = Band(); b_0.first = 1; }',
    );
  });

  test('one that is imported under a condition, too', () => {
    const files = {
      root: '@if(X) import package::narrow::Narrow as Band; @if(!X) import package::wide::Wide as Band; fn root() { @registers var b: array<Band, 1>; }',
      narrow: 'struct Narrow { first: i32 }',
      wide: 'struct Wide { first: vec4i }',
    };
    expect(linked(files)).toBe('struct Wide { first: vec4i } fn root() { var b_0: Wide = Wide(); }');
    expect(linked(files, { X: true })).toBe(
      'struct Narrow { first: i32 } fn root() { var b_0: Narrow = Narrow(); }',
    );
  });
});

describe('attributes of an entry point', () => {
  const root =
    'import constants::{N, SIZE}; @compute @workgroup_size(N) @if(PINNED) @subgroup_size(SIZE) fn root() { a(); }';

  test('one with a condition is in the variants where that holds, with the constants that it names', () => {
    expect(linked({ root }, { N: 64, SIZE: 32, PINNED: true })).toBe(
      'const N = 64u; const SIZE = 32u; @compute @workgroup_size(N) @subgroup_size(SIZE) fn root() { a(); }',
    );
    expect(linked({ root }, { N: 64 })).toBe('const N = 64u; @compute @workgroup_size(N) fn root() { a(); }');
  });

  test('several with conditions, among others and behind them', () => {
    const two = '@compute @if(A) @first(1) @if(!A) @second @workgroup_size(64) fn root() { a(); }';
    expect(linked({ root: two }, { A: true })).toBe(
      '@compute @first(1) @workgroup_size(64) fn root() { a(); }',
    );
    expect(linked({ root: two })).toBe('@compute @second @workgroup_size(64) fn root() { a(); }');
  });

  test('a condition before the first is that of the whole declaration', () => {
    const whole = '@if(A) @must_use fn f() -> u32 { return 1u; } fn root() { @if(A) a(f()); }';
    expect(linked({ root: whole }, { A: true })).toContain('@must_use fn f() -> u32');
    expect(linked({ root: whole })).toBe('fn root() { }');
  });
});

describe('conditions', () => {
  test.each([
    { condition: 'A', holds: ['A', 'A B', 'A C'] },
    { condition: '!A', holds: ['', 'B', 'C', 'B C'] },
    { condition: 'A && !B', holds: ['A', 'A C'] },
    { condition: 'A || B && C', holds: ['A', 'A B', 'A C', 'B C'] },
    { condition: '(A || B) && C', holds: ['A C', 'B C'] },
    { condition: '!(A || B)', holds: ['', 'C'] },
  ])('$condition', ({ condition, holds }) => {
    const all = ['', 'A', 'B', 'C', 'A B', 'A C', 'B C'];
    const found = all.filter((names) => {
      const spec = Object.fromEntries(names.split(' ').map((name) => [name, true]));
      return linkedBody(`@if(${condition}) a();`, spec) === 'a();';
    });
    expect(found).toEqual(holds);
  });

  test.each([
    { what: 'a statement', body: '@if(A) a(x, y); b();', on: 'a(x, y); b();', off: 'b();' },
    { what: 'a declaration', body: '@if(A) let a = 1; b();', on: 'let a = 1; b();', off: 'b();' },
    { what: 'a block', body: '@if(A) { a(); b(); } c();', on: '{ a(); b(); } c();', off: 'c();' },
    {
      what: 'a loop',
      body: '@if(A) for (var i = 0; i < n; i++) { a(); } c();',
      on: 'for (var i = 0; i < n; i++) { a(); } c();',
      off: 'c();',
    },
    {
      what: 'an if with all that follows from it',
      body: '@if(A) if (x) { a(); } else if (y) { b(); } else { c(); } d();',
      on: 'if (x) { a(); } else if (y) { b(); } else { c(); } d();',
      off: 'd();',
    },
    {
      what: 'a case',
      body: 'switch (x) { @if(A) case 1u: { a(); } default: { b(); } } c();',
      on: 'switch (x) { case 1u: { a(); } default: { b(); } } c();',
      off: 'switch (x) { default: { b(); } } c();',
    },
    { what: 'else', body: '@if(A) a(); @else b(); c();', on: 'a(); c();', off: 'b(); c();' },
    {
      what: 'another condition within',
      body: '@if(A) { a(); @if(B) b(); @else { @if(!B) c(); } } d();',
      on: '{ a(); { c(); } } d();',
      off: 'd();',
    },
  ])('of $what', ({ body, on, off }) => {
    expect(linkedBody(body, { A: true })).toBe(on);
    expect(linkedBody(body)).toBe(off);
  });

  test('of parameters and members', () => {
    const root = `
      struct Params { n: u32, @if(WIDE) wide: array<vec4u, 4>, last: u32 }
      @compute @workgroup_size(64) fn root(a: u32, @if(WIDE) @builtin(local_invocation_index) b: u32) { f(Params()); }
      fn f(@if(WIDE) p: array<u32, 2>, @if(!WIDE) q: u32, r: Params) {}`;
    expect(linked({ root }, { WIDE: true })).toBe(
      'struct Params { n: u32, wide: array<vec4u, 4>, last: u32 } @compute @workgroup_size(64) fn root(a: u32, @builtin(local_invocation_index) b: u32) { f(Params()); } fn f(p: array<u32, 2>, r: Params) {}',
    );
    expect(linked({ root })).toBe(
      'struct Params { n: u32, last: u32 } @compute @workgroup_size(64) fn root(a: u32,) { f(Params()); } fn f( q: u32, r: Params) {}',
    );
  });

  test('of declarations and directives', () => {
    const root = `
      @if(HALF) enable f16;
      @if(WIDE)  @group(0) @binding(1) var<storage, read> x: array<vec4u>;
      @else      @group(0) @binding(1) var<storage, read> x: array<u32>;
      @if(WIDE && HALF) alias T = f16;
      @if(!(WIDE && HALF)) alias T = f32;
      fn root() -> T { return T(x[0]); }`;
    expect(linked({ root }, { WIDE: true, HALF: true })).toBe(
      'enable f16; @group(0) @binding(1) var<storage, read> x: array<vec4u>; alias T = f16; fn root() -> T { return T(x[0]); }',
    );
    expect(linked({ root })).toBe(
      '@group(0) @binding(1) var<storage, read> x: array<u32>; alias T = f32; fn root() -> T { return T(x[0]); }',
    );
  });
});

describe('link', () => {
  const files = {
    double: 'fn double(x: f32) -> f32 { return 2.0 * x; }\nfn unused() {}',
    root: `
import package::double::double;
import constants::SIZE;
@if(WIDE) const STEP = 4u;
@else const STEP = 1u;
fn root() -> f32 { return double(f32(SIZE * STEP)); }`,
  };
  const root = { name: 'root', modules: modulesOf(files) };

  test('fills in imports, conditions and constants', () => {
    const wide = link(root, { SIZE: 3, WIDE: true });
    expect(wide).toContain('const STEP = 4u;');
    expect(wide).toContain('const SIZE = 3u;');
    expect(wide).toContain('fn double(');
    expect(wide).not.toContain('unused');
    expect(link(root, { SIZE: 3 })).toContain('const STEP = 1u;');
  });

  test('keeps the layout of what is left, without comments', () => {
    const code = `
// Says what it does.
const N = 4u;

fn root(/* not a word */ x: u32) -> u32 {
  // Nothing here.
  @if(SAID) let y = x + 1u;  // or there
  @if(!SAID) let y = x;
  return y * N;
}`;
    expect(link({ name: 'root', modules: modulesOf({ root: code }) }, { SAID: true })).toBe(
      'const N = 4u;\nfn root( x: u32) -> u32 {\n  let y = x + 1u;\n  return y * N;\n}\n',
    );
  });

  test('an import may have another name, and a condition', () => {
    const halves = 'fn from_f16() -> f32 { return 1.0; } fn from_bf16() -> f32 { return 2.0; }';
    const importing = `
      @if(F16) import package::halves::from_f16 as from_half;
      @if(!F16) import package::halves::{from_bf16 as from_half};
      fn root() -> f32 { return from_half(); }`;
    expect(linked({ root: importing, halves }, { F16: true })).toBe(
      'fn from_f16() -> f32 { return 1.0; } fn root() -> f32 { return from_f16(); }',
    );
    expect(linked({ root: importing, halves })).toBe(
      'fn from_bf16() -> f32 { return 2.0; } fn root() -> f32 { return from_bf16(); }',
    );
  });

  test('what only dead code needs is left out', () => {
    const code = `
      @group(0) @binding(0) var<storage, read> table: array<u32>;
      fn page(i: u32) -> u32 { return table[i]; }
      fn root() { @if(PAGED) let x = page(0u); }`;
    expect(linked({ root: code })).toBe('fn root() { }');
    expect(linked({ root: code }, { PAGED: true })).toContain('var<storage, read> table');
  });

  test('a name behind a point is a member, and locals of other files do not count', () => {
    const code = 'import package::other::f; struct S { x: u32 } fn root(s: S) { f(s.tile); }';
    const other = 'var<workgroup> tile: u32; fn f(x: u32) { let y = x; } fn g() { tile = 1u; }';
    expect(linked({ root: code, other })).not.toContain('workgroup');
  });

  test('tells what a spec lacks', () => {
    expect(() => link(root, {})).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: SIZE is not among the constants of the kernel]`,
    );
    expect(() =>
      linked({
        root: 'import constants::N; fn root() { @unroll for (var i = 0u; i < N; i++) { } }',
      }),
    ).toThrowErrorMatchingInlineSnapshot(`[RangeError: N is not among the constants of the kernel]`);
    expect(() =>
      linked({ root: '@if(A) fn f() {} fn root() { f(); }' }, { B: true }),
    ).toThrowErrorMatchingInlineSnapshot(`[RangeError: root{B} lacks f, but needs it.]`);
  });

  test('a variant has one name, whatever the order of its parts', () => {
    const name = (spec: Parameters<typeof variantName>[1]) => variantName({ name: 'root' }, spec);
    expect(name({ B: true, A: 2, C: false })).toBe('root{A=2 B}');
    expect(name({ A: 2, B: true })).toBe(name({ B: true, A: 2, C: false }));
  });
});

test('the build refuses, and says where', () => {
  const other = 'const N = 1u;\nfn f() {}\nfn g() {}';
  const refused = {
    'a file that is not there': 'import package::gone::f;\nfn root() { f(); }',
    'a name that is not there': '\nimport package::other::h;\nfn root() { h(); }',
    'a name that is not imported': 'import package::other::f;\nfn root() { f();\n  g(); }',
    'an import that nothing needs': 'import package::other::{f,\n  g};\nfn root() { f(); }',
    'an import from elsewhere': 'import super::other::f;\nfn root() { f(); }',
    'an import in passing': 'fn root() { package::other::f(); }',
    'two declarations of one name': 'import package::other::f;\nconst N = 2u;\nfn root() { f(); }',
    'a constant that is declared, too':
      'import constants::N;\nimport package::other::f;\nfn root() { f(); let x = N; }',
    'a local that hides a declaration': 'import package::other::f;\nfn root() {\n  f(); let f = 1;\n}',
    'a parameter that hides a declaration': 'const n = 1u;\nfn root(n: u32) {}',
    'another kind of loop': 'fn root() {\n  @unroll for (var i = 1u; i < 4; i++) { f(); }\n}',
    'an open block': 'fn root() {\n  @unroll for (var i = 0u; i < 2; i++) { a();\n',
    'else without if': 'fn root() {\n  a(); @else b();\n}',
    'a broken condition': 'fn root() {\n  @if(A &&) b();\n}',
    'an index of registers that varies':
      'fn root(i: u32) {\n  @registers var a: array<f32, 2>;\n  a[i] = 1.0;\n}',
    'an index of registers that is computed':
      'fn root() {\n  @registers var a: array<f32, 2>;\n  a[1u - 1u] = 1.0;\n}',
    'too few indices': 'fn root() {\n  @registers var a: array<array<f32, 2>, 2>;\n  a[1u] = 1.0;\n}',
    'what declares nothing': 'fn root() {}\nconst_assert 1 < 2;',
    'a sign that WGSL does not have': 'fn root() {\n  let é = 1;\n}',
  };
  const messages = Object.entries(refused).map(([what, root]) => {
    try {
      modulesOf({ root, other });
      return `${what}: is not refused`;
    } catch (error) {
      return `${what}: ${(error as SyntaxError).message}`;
    }
  });
  expect(messages).toMatchInlineSnapshot(`
    [
      "a file that is not there: root.wgsl:1: there is no gone.wgsl to import from.",
      "a name that is not there: root.wgsl:2: other.wgsl declares no h.",
      "a name that is not imported: root.wgsl:3: g of other.wgsl is not imported.",
      "an import that nothing needs: root.wgsl:1: g is imported but not used.",
      "an import from elsewhere: root.wgsl:1: imports come from package:: or constants::, not from super::.",
      "an import in passing: root.wgsl:1: package:: in the middle of code is not understood. Import what it names.",
      "two declarations of one name: root.wgsl:2: N is declared in other.wgsl:1, too.",
      "a constant that is declared, too: root.wgsl:1: N is declared in other.wgsl:1, too.",
      "a local that hides a declaration: root.wgsl:3: f hides what has that name outside of the function.",
      "a parameter that hides a declaration: root.wgsl:2: n hides what has that name outside of the function.",
      "another kind of loop: root.wgsl:2: what is to be unrolled must be for (var i = 0u; i < N; i++) { … }.",
      "an open block: root.wgsl:3: the file ends in the middle of something.",
      "else without if: root.wgsl:2: @else must follow what has an @if.",
      "a broken condition: root.wgsl:2: there must be a name, not ).",
      "an index of registers that varies: root.wgsl:3: i cannot be an index of a: registers are named, so it takes a number or the counter of an unrolled loop.",
      "an index of registers that is computed: root.wgsl:3: an index of a can be divided by a size, but not more: there is -.",
      "too few indices: root.wgsl:3: a has 2 indices.",
      "what declares nothing: root.wgsl:2: this is neither a declaration nor a directive.",
      "a sign that WGSL does not have: root.wgsl:2: there must be a name, not é.",
    ]
  `);
});
