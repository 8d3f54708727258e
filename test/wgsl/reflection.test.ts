import { describe, expect, test } from 'vitest';
import { checkLayouts } from '../../tools/wgsl/checkLayouts.js';
import { linkModules } from '../../tools/wgsl/modules.js';
import { link } from '../../src/wgsl/link.js';
import { constantOf, kernelOf, structOf, workgroupSizeOf } from '../../src/wgsl/reflection.js';

/** The modules of a kernel called root that consists of these files. */
function linkedFiles(files: Readonly<Record<string, string>>) {
  return linkModules('root', (name) => ({ path: `${name}.wgsl`, text: files[name]! }));
}

function kernelIn(files: Readonly<Record<string, string>>) {
  return kernelOf(
    'root',
    linkedFiles(files).map(({ module }) => module),
  );
}

const ITEMS = `
  struct Item { first: u32, @size(4) second: i32, third: f32 }
  @group(0) @binding(2) var<storage, read> items: array<Item>;
  @group(0) @binding(7) var<storage, read> elsewhere: array<u32>;`;
const ROOT = `
  import package::items::items;
  const WG_SIZE = 32u;
  struct Params { n: u32, scale: f32 }
  @group(0) @binding(0) var<uniform> params: Params;
  @if(WIDE)  @group(0) @binding(1) var<storage, read_write> out: array<vec4u>;
  @if(!WIDE) @group(0) @binding(1) var<storage, read_write> out: array<u32>;
  @compute @workgroup_size(WG_SIZE) fn root() { @if(ITEMS) f(items[0]); out[0] = params.n; }
  fn f(x: u32) {}`;

describe('what the text of a kernel says of its layouts', () => {
  const kernel = kernelIn({ root: ROOT, items: ITEMS.replace('@size(4) ', '') });

  test('bindings are those that any variant reaches, by number', () => {
    expect(kernel.bindings).toEqual([
      { name: 'params', binding: 0, access: 'uniform' },
      { name: 'out', binding: 1, access: 'read_write' },
      { name: 'items', binding: 2, access: 'read' },
    ]);
  });

  test('structs', () => {
    expect(kernel.params).toEqual({
      bytes: 8,
      fields: { n: { offset: 0, type: 'u32' }, scale: { offset: 4, type: 'f32' } },
    });
    expect(structOf(kernel, 'Item').fields).toEqual({
      first: { offset: 0, type: 'u32' },
      second: { offset: 4, type: 'i32' },
      third: { offset: 8, type: 'f32' },
    });
    expect(() => structOf(kernel, 'Gone')).toThrowErrorMatchingInlineSnapshot(
      `[RangeError: There is no Gone in the WGSL.]`,
    );
  });

  test('constants, and how large a workgroup is', () => {
    expect(constantOf(kernel, 'WG_SIZE')).toBe(32);
    expect(workgroupSizeOf({ kernel, spec: {} })).toBe(32);
    expect(workgroupSizeOf({ kernel, spec: { WG_SIZE: 128 } })).toBe(128);
  });
});

describe('the build refuses', () => {
  const check = (root: string, items = ITEMS.replace('@size(4) ', '')) => {
    checkLayouts('root', linkedFiles({ root, items }));
  };

  test('nothing that is right', () => {
    expect(() => check(ROOT)).not.toThrow();
  });

  test('two bindings of one number', () => {
    expect(() => check(ROOT.replace(/@binding\(1\)/g, '@binding(0)'))).toThrowErrorMatchingInlineSnapshot(
      `[Error: root.wgsl: out and another are both binding 0.]`,
    );
  });

  test('forms of a binding that differ in more than their type', () => {
    expect(() => check(ROOT.replace('@binding(1)', '@binding(3)'))).toThrowErrorMatchingInlineSnapshot(
      `[Error: The forms of out differ: @group(0) @binding(3) var<storage, read_write> or @group(0) @binding(1) var<storage, read_write>.]`,
    );
  });

  test('structs of anything but 32-bit numbers one after another', () => {
    const wide = ITEMS.replace('@size(4) ', '@size(8) ');
    expect(() => check(ROOT, wide)).toThrowErrorMatchingInlineSnapshot(
      `[Error: Item must be a struct of 32-bit numbers without conditions.]`,
    );
    expect(() => check(ROOT.replace('n: u32', 'n: vec2u'))).toThrowErrorMatchingInlineSnapshot(
      `[Error: Params must be a struct of 32-bit numbers without conditions.]`,
    );
  });
});

describe('records in an array of words', () => {
  const root = (fields: string) => `
    @group(0) @binding(0) var<storage, read> words: array<u32>;
    struct Pair { ${fields} }
    @record(words) fn pair_at(index: u32) -> Pair;
    fn root() { f(pair_at(3u)); }`;

  test('are read by a function that the build writes', () => {
    const { name, modules } = kernelIn({ root: root('a: u32, b: u32') });
    expect(link({ name, modules }, {})).toContain(
      [
        'fn pair_at(index: u32) -> Pair {',
        '  let first = index * 2u;',
        '  return Pair(',
        '    words[first + 0u],',
        '    words[first + 1u],',
        '  );',
        '}',
      ].join('\n'),
    );
  });

  test('are written by one, too', () => {
    const { name, modules } = kernelIn({
      root: root('a: u32, b: u32')
        .replace('storage, read>', 'storage, read_write>')
        .replace('pair_at(index: u32) -> Pair', 'put_pair(index: u32, pair: Pair)')
        .replace('f(pair_at(3u))', 'put_pair(3u, Pair(1u, 2u))'),
    });
    expect(link({ name, modules }, {})).toContain(
      [
        'fn put_pair(index: u32, pair: Pair) {',
        '  let first = index * 2u;',
        '  words[first + 0u] = pair.a;',
        '  words[first + 1u] = pair.b;',
        '}',
      ].join('\n'),
    );
  });

  test('have only u32 fields, and their struct stands above', () => {
    expect(() => kernelIn({ root: root('a: u32, b: f32') })).toThrowErrorMatchingInlineSnapshot(
      `[SyntaxError: root.wgsl:4: b of Pair is f32, but only u32 can be read or written.]`,
    );
    expect(() =>
      kernelIn({ root: root('a: u32').replace('struct Pair', 'struct Other') }),
    ).toThrowErrorMatchingInlineSnapshot(
      `[SyntaxError: root.wgsl:4: Pair must be a struct that is declared above.]`,
    );
  });
});
