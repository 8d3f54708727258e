import { describe, expect, test } from 'vitest';
import { link } from '../../src/wgsl/link.js';
import { inOwnNames, modLineOf, modModule, newNames, parseMod, type ModSource } from '../../src/wgsl/mods.js';
import type { KernelMod } from '../../src/wgsl/kernel.js';

const SCORE = 'fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32';
const MASK = 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool';

function scoreMod(code: string, tensors: ModSource['tensors'] = {}) {
  return parseMod({ kind: 'scoreMod', name: 'a mod', code, tensors });
}

function maskMod(code: string, tensors: ModSource['tensors'] = {}) {
  return parseMod({ kind: 'maskMod', name: 'a mod', code, tensors });
}

/** The text of a kernel that has nothing but a mod. */
function textOf(mod: ReturnType<typeof parseMod>, taken: readonly string[] = []): string {
  const bindings = Object.fromEntries(Object.keys(mod.tensors).map((name, i) => [name, 13 + i]));
  const name = mod.kind === 'scoreMod' ? 'score_mod' : 'mask_mod';
  return link({ name, modules: [modModule([{ ...mod, bindings }], new Set(taken), 15)] }, {});
}

describe('the text of a mod', () => {
  test('has its own names apart, and stays in its lines', () => {
    const code = `// Falls with distance.
const SLOPE = 0.5; /* of all
heads */ struct Pair { SLOPE: f32, rest: f32 }
fn fall(params: i32) -> f32 { return SLOPE * f32(params); }
${SCORE} {
  let pair = Pair(fall(q - k), 0.0);
  return score - pair.SLOPE; // done
}`;
    expect(textOf(scoreMod(code), ['params', 'k', 'q', 'out'])).toMatchInlineSnapshot(`
      "// fn score_mod, as scoreMod has it:

      const SLOPE_of_score_mod = 0.5;
      struct Pair_of_score_mod { SLOPE: f32, rest: f32 }
      fn fall_of_score_mod(params_of_score_mod: i32) -> f32 { return SLOPE_of_score_mod * f32(params_of_score_mod); }
      fn score_mod(score: f32, b: u32, h: u32, q_of_score_mod: i32, k_of_score_mod: i32) -> f32 {
        let pair = Pair_of_score_mod(fall_of_score_mod(q_of_score_mod - k_of_score_mod), 0.0);
        return score - pair.SLOPE;
      }
      "
    `);
  });

  test('reads parameters and tensors', () => {
    const code = `${MASK} {
  return documents[q] == documents[u32(k)] && f32(k) < mod_params[ h + u32(mod_params[1]) ];
}`;
    expect(textOf(maskMod(code, { documents: 'u32', unused: 'f32' }))).toMatchInlineSnapshot(`
      "@group(0) @binding(15) var<uniform> mod_params: array<vec4f, 4>;
      @group(0) @binding(13) var<storage, read> documents_of_mask_mod: array<u32>;
      fn mask_mod_param(i: u32) -> f32 {
        return mod_params[2u + min(i, 7u) / 4u][i % 4u];
      }
      // fn mask_mod, as maskMod has it:
      fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool {
        return documents_of_mask_mod[q] == documents_of_mask_mod[u32(k)] && f32(k) < mask_mod_param(u32( h + u32(mask_mod_param(u32(1))) ));
      }
      "
    `);
  });

  test('gets names that it does not have', () => {
    const mod = scoreMod(`const a = 1.0; const a_of_score_mod = 2.0; ${SCORE} { return score * a; }`);
    expect([...newNames(mod)]).toEqual([
      ['a', 'a_of_score_mod_of_score_mod'],
      ['a_of_score_mod', 'a_of_score_mod_of_score_mod_of_score_mod'],
    ]);
  });

  test('knows words of JavaScript as those of any text', () => {
    expect(textOf(maskMod(`${MASK} { let constructor = q; return constructor > k; }`))).toContain(
      'let constructor = q;',
    );
  });

  test('both mods keep apart', () => {
    const helper = 'fn helper() -> f32 { return mod_params[0]; }';
    const score = scoreMod(
      `${helper} fn mask_mod() -> f32 { return 1.0; } ${SCORE} { return score + helper() + mask_mod(); }`,
    );
    const mask = maskMod(`${helper} ${MASK} { return helper() > 0.0; }`);
    const modules = [
      modModule(
        [score, mask].map((mod) => ({ ...mod, bindings: {} })),
        new Set(),
        15,
      ),
    ];
    const texts = ['score_mod', 'mask_mod'].map((name) => link({ name, modules }, {}));
    expect(texts[0]).toContain('fn mask_mod_of_score_mod() -> f32');
    expect(texts[1]).toContain('helper_of_mask_mod()');
  });
});

test('labels are equal for equal texts alone', () => {
  const code = `${MASK} { return table[0] == 1; }`;
  const labels = [
    maskMod(code, { table: 'i32' }),
    maskMod(code, { table: 'i32' }),
    maskMod(code, { table: 'u32' }),
    maskMod(`${code}\n`, { table: 'i32' }),
  ].map(({ label }) => label);
  expect(labels[0]).toBe(labels[1]);
  expect(new Set(labels).size).toBe(3);
});

test('errors are found in the lines of a mod', () => {
  const code = `fn helper() -> f32 {\n  return missing;\n}\r\n${SCORE} { return helper(); }`;
  const mod = scoreMod(code);
  const lines = textOf(mod).split('\n');
  const names = new Map(Array.from(newNames(mod), ([given, becomes]) => [becomes, given]));
  const known: KernelMod = { kind: 'scoreMod', name: 'a mod', label: mod.label, code, names };
  const lineOf = (text: string) =>
    modLineOf({ mods: [known] }, lines, lines.findIndex((line) => line.includes(text)) + 1)?.line;
  expect([lineOf('missing'), lineOf('fn score_mod('), lineOf('// fn')]).toEqual([2, 4, undefined]);
  expect(inOwnNames("no 'helper_of_score_mod' here", known)).toBe("no 'helper' here");
});

describe('what is refused', () => {
  test.each([
    ['', 'nothing'],
    [`fn other() {}`, 'another function'],
    [`fn score_mod(score: f32, b: u32, h: u32, q: u32, k: u32) -> f32 { return score; }`, 'types'],
    [`fn score_mod(score: f32) { }`, 'parameters'],
    [`${SCORE} { return score; } ${SCORE} { return score; }`, 'twice'],
    [`${SCORE} { return score; `, 'an open bracket'],
    [`${SCORE} { return score); }`, 'a closed bracket'],
    [`${SCORE} { return score; } }`, 'another one'],
    [`enable f16;\n${SCORE} { return score; }`, 'a directive'],
    [`var<private> x: f32;\n${SCORE} { return score; }`, 'memory'],
    [`@group(0) @binding(0) var<storage> x: f32;\n${SCORE} { return score; }`, 'a binding'],
    [`override x: f32;\n${SCORE} { return score; }`, 'an override'],
    [`@compute @workgroup_size(1) fn main() {}\n${SCORE} { return score; }`, 'an entry point'],
    [`const mod_params = 1;\n${SCORE} { return score; }`, 'a given name'],
    [`const table = 1;\n${SCORE} { return score; }`, 'a tensor'],
    [`${SCORE} { return score; }\n\n#if`, 'no WGSL'],
    [`let x = 1;`, 'no declaration'],
    [`${SCORE} {\n  let all = mod_params;\n  return all[0]; }`, 'parameters as a whole'],
  ])('%j: %s', (code) => {
    let message = '';
    try {
      scoreMod(code, { table: 'f32' });
    } catch (error) {
      message = (error as SyntaxError).message;
    }
    expect(message).toMatchSnapshot();
  });

  test.each([
    `/* /* nested */ // not a line */ ${SCORE} { return score; }`,
    `fn score_mod(s: f32, batch: u32, head: u32, query: i32, key: i32,) -> f32 { return s; }`,
    `alias F = f32; const_assert 1 > 0; ; @must_use fn f() -> F { return 0x1p+2 + 1e-3f + .5; } ${SCORE} { return f(); }`,
  ])('but not %j', (code) => {
    expect(() => scoreMod(code)).not.toThrow();
  });
});
