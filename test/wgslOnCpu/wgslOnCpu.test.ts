import { describe, expect, test } from 'vitest';
import { run, type KernelRun } from './run.js';

type Options = Partial<Omit<KernelRun, 'code' | 'entryPoint' | 'bytesOf'>>;

/** Runs the statements of one invocation, and returns what it stored in `out` as numbers of a type. */
function results(type: 'f32' | 'u32' | 'i32', body: string, options: Options & { declared?: string } = {}) {
  const { declared = '', ...rest } = options;
  const code = `${declared}
    @group(0) @binding(0) var<storage, read_write> out: array<${type}>;
    @compute @workgroup_size(1) fn main() { ${body} }`;
  const bytes = new ArrayBuffer(64);
  run({ code, entryPoint: 'main', grid: [1, 1, 1], ...rest, bytesOf: () => bytes });
  const Numbers = { f32: Float32Array, u32: Uint32Array, i32: Int32Array }[type];
  return [...new Numbers(bytes)];
}

/** Runs a workgroup of four invocations, with 16 words of storage and as many of workgroup memory. */
function workgroup(body: string, options: Options = {}) {
  const code = `
    var<workgroup> shared_words: array<u32, 16>;
    var<workgroup> counts: array<atomic<u32>, 4>;
    @group(0) @binding(0) var<storage, read_write> out: array<u32>;
    @compute @workgroup_size(4)
    fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) { ${body} }`;
  const bytes = new ArrayBuffer(64);
  const races = run({ code, entryPoint: 'main', grid: [1, 1, 1], ...options, bytesOf: () => bytes });
  return { races, stored: [...new Uint32Array(bytes, 0, 4)] };
}

const racesOf = (body: string, options?: Options) => workgroup(body, options).races;
const storedBy = (body: string, options?: Options) => workgroup(body, options).stored;

describe('numbers', () => {
  test.each([
    { body: 'let a = 0xffffffffu; out[0] = a * a; out[1] = a + 2u; out[2] = 0u - a;', want: [1, 1, 1] },
    {
      body: 'let a = 0x80000000u; out[0] = a >> 31u; out[1] = a << 1u; out[2] = ~a;',
      want: [1, 0, 0x7fffffff],
    },
    {
      body: 'let v = vec4u(1u, 2u, 3u, 4u) * 0x7feb352du; out[0] = v.w; out[1] = (v.xy ^ v.zw).x;',
      want: [(4 * 0x7feb352d) % 2 ** 32, 0x7feb352d ^ 0x7fc19f87],
    },
    { body: 'let zero = out[9]; out[0] = 7u / zero; out[1] = 7u % 4u; out[2] = 7u / 2u;', want: [7, 3, 3] },
    {
      body: 'out[0] = u32(-1.5); out[1] = u32(5e9); out[2] = u32(2.9); out[3] = bitcast<u32>(-1i);',
      want: [0, 2 ** 32 - 1, 2, 2 ** 32 - 1],
    },
    {
      body: 'out[0] = bitcast<u32>(1.0f); out[1] = bitcast<vec2u>(vec2f(-0.0, 2.0)).x;',
      want: [0x3f800000, 0x80000000],
    },
    {
      body: 'out[0] = pack2x16float(vec2f(1.0, -2.0)); out[1] = countTrailingZeros(40u);',
      want: [0xc0003c00, 3],
    },
    { body: 'out[0] = countOneBits(0u); out[1] = countOneBits(0x80000005u);', want: [0, 3] },
  ])('u32: $body', ({ body, want }) => {
    expect(results('u32', body).slice(0, want.length)).toEqual(want);
  });

  test.each([
    {
      body: 'out[0] = 16777216.0 + 1.0f; out[1] = 0x1p-32; out[2] = 0.1f + 0.2f;',
      want: [16777216, 2 ** -32, Math.fround(Math.fround(0.1) + Math.fround(0.2))],
    },
    {
      body: 'let h = unpack2x16float(0xfc000001u); out[0] = h.x; out[1] = h.y;',
      want: [2 ** -24, -Infinity],
    },
    {
      body: 'out[0] = round(2.5); out[1] = round(3.5); out[2] = fract(-0.25); out[3] = f32(3u);',
      want: [2, 4, 0.75, 3],
    },
    {
      body: 'let v = clamp(vec2f(-1.0, 9.0), vec2f(), vec2f(4.0)); out[0] = v.x; out[1] = v.y; out[2] = dot(v, v);',
      want: [0, 4, 16],
    },
    {
      body: 'let v = select(vec2f(1.0), vec2f(2.0), vec2f(0.0, 3.0) > vec2f(1.0)); out[0] = v.x; out[1] = v.y;',
      want: [1, 2],
    },
  ])('f32: $body', ({ body, want }) => expect(results('f32', body).slice(0, want.length)).toEqual(want));

  test('i32: shifts keep the sign, division rounds to zero', () => {
    expect(
      results('i32', 'let a = -7; out[0] = a >> 1u; out[1] = a / 2; out[2] = a % 2; out[3] = -a;').slice(
        0,
        4,
      ),
    ).toEqual([-4, -3, -1, 7]);
  });
});

describe('names and memory', () => {
  test('overrides are given as numbers, and others follow from them', () => {
    const declared =
      'override ON = false; override N: u32; override TWICE = N * 2u; const MORE = TWICE + 1u; override X = 1.5;';
    const body = 'if (ON) { out[0] = N; } out[1] = MORE; out[2] = u32(X * 2.0);';
    expect(results('u32', body, { declared, constants: { ON: 1, N: 5 } }).slice(0, 3)).toEqual([5, 11, 3]);
    expect(results('u32', body, { declared, constants: { N: 6, X: 4 } }).slice(0, 3)).toEqual([0, 13, 8]);
  });

  test('a copy of a vector or struct stays when the variable changes', () => {
    const declared = 'struct Pair { a: vec2u, b: u32 }';
    const body = `var v = vec2u(1u, 2u); let was = v; v.x = 9u; out[0] = was.x; out[1] = v.x;
      var p = Pair(v, 3u); v.y = 8u; let q = p; p.a.y = 7u; p.b += 1u; out[2] = q.a.y; out[3] = q.b; out[4] = p.b;`;
    expect(results('u32', body, { declared }).slice(0, 5)).toEqual([1, 9, 2, 3, 4]);
  });

  test('inner names hide outer ones, and arguments are evaluated before any of them has its name', () => {
    const declared = 'fn minus(a: u32, b: u32) -> u32 { return a - b; }';
    const body =
      'let a = 2u; let b = 9u; out[0] = minus(b, a); for (var a = a; a < 4u; a++) { let b = a; out[a] = b; } out[1] = a;';
    expect(results('u32', body, { declared }).slice(0, 4)).toEqual([7, 2, 2, 3]);
  });

  test('structs lie in memory as WGSL has it', () => {
    const declared =
      'struct Row { a: f32, b: vec3f, c: f32, d: vec2f }\n@group(0) @binding(1) var<storage, read_write> rows: array<Row>;';
    const body = 'rows[0] = Row(1.0, vec3f(2.0, 3.0, 4.0), 5.0, vec2f(6.0, 7.0)); rows[1].a = 8.0;';
    expect(results('f32', body, { declared })).toEqual([1, 0, 0, 0, 2, 3, 4, 5, 6, 7, 0, 0, 8, 0, 0, 0]);
  });

  test('what select does not choose may lie beyond the end, anything else may not', () => {
    expect(results('u32', 'out[0] = select(4u, out[99], out[1] == 1u);')[0]).toBe(4);
    expect(() => results('u32', 'out[0] = out[16];')).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: out has 64 bytes, so there is no read of bytes 64 to 68.]`,
    );
    expect(() => results('u32', 'out[16] = 1u;')).toThrow(RangeError);
    expect(() => results('u32', 'var a = array<u32, 2>(); let i = out[0] + 2u; a[i] = 1u;')).toThrow(
      RangeError,
    );
  });

  test.each([
    'out[0] = 1;  let a: f32 = 1u;',
    'out[0] = 1u + 1.0f;',
    'out[0] = nothing;',
    'out[0] = nothing(1u);',
    'let a = 1u; a = 2u;',
    'out[0] = vec2u(1u, 2u, 3u).x;',
    'out[0] = 1u',
  ])('refuses %s', (body) => expect(() => results('u32', body)).toThrow(SyntaxError));

  test('refuses a constant that is not there, and one without a value', () => {
    expect(() => results('u32', '', { constants: { N: 1 } })).toThrow('There is no override N.');
    expect(() => results('u32', 'out[0] = N;', { declared: 'override N: u32;' })).toThrow(
      'The override N has no value.',
    );
  });
});

describe('races', () => {
  test.each([
    { body: 'shared_words[lane] = 1u; out[lane] = shared_words[lane];', why: 'each its own' },
    {
      body: 'shared_words[lane] = 1u; workgroupBarrier(); out[lane] = shared_words[3u - lane];',
      why: 'a barrier between',
    },
    {
      body: 'atomicAdd(&counts[0], 1u); workgroupBarrier(); out[lane] = atomicLoad(&counts[0]);',
      why: 'atomics',
    },
    {
      body: 'if (lane == 2u) { shared_words[0] = 5u; } out[lane] = workgroupUniformLoad(&shared_words[0]); shared_words[lane] = 1u;',
      why: 'a uniform load has barriers around it',
    },
    {
      body: 'for (var i = 0u; i < 3u; i++) { workgroupBarrier(); if (lane == i) { shared_words[0] += 1u; } }',
      why: 'one after another',
    },
  ])('none: $why', ({ body }) => expect(racesOf(body)).toEqual([]));

  test.each([
    {
      body: 'shared_words[lane] = 1u; out[lane] = shared_words[3u - lane];',
      race: 'shared_words word 2: write beside read',
    },
    { body: 'shared_words[lane / 2u] = 1u;', race: 'shared_words word 0: write beside write' },
    { body: 'out[0] = lane;', race: 'out word 0: write beside write' },
    {
      body: 'if (lane == 0u) { out[0] = 1u; } workgroupBarrier(); out[lane + 1u] = out[0];',
      race: 'out word 0: read beside write',
    },
    {
      body: 'atomicAdd(&counts[0], 1u);  if (lane == 3u) { out[0] = 1u; } if (lane == 1u) { out[1] = out[0]; }',
      race: 'out word 0: write beside read',
    },
  ])('$race', ({ body, race }) => expect(racesOf(body)).toContain(race));

  test('of workgroups for storage, each of which has workgroup memory of its own', () => {
    const body = 'shared_words[lane] += 1u; out[lane + group.y] = shared_words[lane];';
    expect(racesOf(body)).toEqual([]);
    expect(racesOf(body, { grid: [1, 2, 1] })).toContain('out word 1: write beside write');
  });

  test('atomics that depend on the order show it in reverse', () => {
    const body = 'let before = atomicAdd(&counts[0], 1u); out[lane] = before;';
    expect(storedBy(body)).toEqual([0, 1, 2, 3]);
    expect(storedBy(body, { isReversed: true })).toEqual([3, 2, 1, 0]);
  });

  test('a barrier that some do not come to is an error', () => {
    expect(() => racesOf('if (lane == 0u) { workgroupBarrier(); }')).toThrow(
      'Not all invocations reach a barrier.',
    );
  });
});
