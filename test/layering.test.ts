import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

/** A file may import its own folder and the levels below; `index.ts` is what a user of the package imports. */
const LEVELS: ReadonlyMap<string, number> = new Map([
  ['wgsl', 0],
  ['core', 1],
  ['problem', 2],
  ['sizing', 2],
  ['paging', 2],
  ['reference', 2],
  ['rotary', 3],
  ['kernels', 3],
  ['check', 3],
  ['plan', 4],
  ['runtime', 4],
  ['attention', 5],
  ['cache', 5],
  ['tensors', 5],
  ['tuning', 5],
  ['standalone', 6],
  ['index.ts', 6],
]);

/** The only folder that calls WebGPU, and names whose only use is to call it. */
const GPU_FOLDER = 'runtime';
const GPU_CALLS: ReadonlySet<string> = new Set([
  'requestAdapter',
  'createBuffer',
  'createBindGroup',
  'createBindGroupLayout',
  'createPipelineLayout',
  'createComputePipeline',
  'createComputePipelineAsync',
  'createShaderModule',
  'createCommandEncoder',
  'createQuerySet',
  'beginComputePass',
  'setPipeline',
  'setBindGroup',
  'dispatchWorkgroups',
  'dispatchWorkgroupsIndirect',
  'copyBufferToBuffer',
  'clearBuffer',
  'resolveQuerySet',
  'writeBuffer',
  'mapAsync',
  'getMappedRange',
  'onSubmittedWorkDone',
  'pushErrorScope',
  'popErrorScope',
]);

/** Globals of browsers that a Node program has only if it makes them; `core/gpuBuffers.ts` has their numbers. */
const BROWSER_GLOBALS: ReadonlySet<string> = new Set(['GPUBufferUsage', 'GPUMapMode', 'GPUShaderStage']);

/** What the linker of kernels provides besides their own files. */
const WGSL_VIRTUAL_MODULES: ReadonlySet<string> = new Set(['constants']);

/** Source text by path below src. */
type Sources = Readonly<Record<string, string>>;

/** A sentence for everything in the sources that breaks the order of the layers. */
function violations(sources: Sources): string[] {
  return Object.entries(sources).flatMap(([path, text]) => {
    if (!LEVELS.has(folderOf(path))) return [`${path}: ${folderOf(path)} has no level.`];
    return path.endsWith('.wgsl') ? violationsInWgsl(path, text, sources) : violationsInTs(path, text);
  });
}

/** The folder right below src; a file that lies there itself stands for its own. */
function folderOf(path: string): string {
  return path.split('/')[0]!;
}

function violationsInTs(path: string, text: string): string[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const report = (node: ts.Node, problem: string | undefined): void => {
    if (problem)
      found.push(`${path}:${file.getLineAndCharacterOfPosition(node.getStart()).line + 1} ${problem}`);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isTypeOfExpression(node)) return; // asks whether a method is there, and calls nothing
    if (ts.isStringLiteralLike(node) && isPath(node)) report(node, importProblem(path, node.text));
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      if (!ts.isStringLiteralLike(node.arguments[0]!))
        report(node, 'imports a path that is not written out.');
    if (folderOf(path) !== GPU_FOLDER) report(node, gpuProblem(node));
    if (ts.isIdentifier(node) && BROWSER_GLOBALS.has(node.text))
      report(node, `uses the global ${node.text}, which Node may lack. Take it from core/gpuBuffers.ts.`);
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

/** What import and export name, and other strings that look like a path, as `import.meta.glob` takes them. */
function isPath(node: ts.StringLiteralLike): boolean {
  if (ts.isImportDeclaration(node.parent) || ts.isExportDeclaration(node.parent))
    return /^[./]/.test(node.text);
  return /^\.\.?\//.test(node.text);
}

function importProblem(path: string, specifier: string): string | undefined {
  const target = specifier.startsWith('/') ? '..' : posix.join(posix.dirname(path), specifier);
  if (target.startsWith('..')) return `imports ${specifier}, which is outside of src.`;
  const from = folderOf(path);
  const to = target === '.' ? 'index.ts' : folderOf(target).replace(/\.js$/, '.ts');
  if (to === from) return undefined;
  const level = LEVELS.get(to);
  if (level === undefined) return `imports ${target}, but ${to} has no level.`;
  const ownLevel = LEVELS.get(from)!;
  if (level < ownLevel) return undefined;
  return `imports ${target}, but ${from} (level ${ownLevel}) may not import ${to} (level ${level}).`;
}

function gpuProblem(node: ts.Node): string | undefined {
  const name = ts.isIdentifier(node) || ts.isStringLiteralLike(node) ? node.text : '';
  if (GPU_CALLS.has(name)) return `mentions ${name}; only ${GPU_FOLDER} may call WebGPU.`;
  const receiver = ts.isPropertyAccessExpression(node) ? node.expression : undefined;
  const receiverName = receiver && ts.isPropertyAccessExpression(receiver) ? receiver.name : receiver;
  if (receiverName && ts.isIdentifier(receiverName) && receiverName.text === 'queue')
    return `uses a queue; only ${GPU_FOLDER} may call WebGPU.`;
  return undefined;
}

/** WGSL imports name modules of the same folder: `package` is the folder below src, `super` that of the file. */
function violationsInWgsl(path: string, text: string, sources: Sources): string[] {
  const code = text.replace(/\/\*[^]*?\*\/|\/\/.*/g, '');
  const imports = [...code.matchAll(/\bimport\s+([^;]+);/g)].flatMap(([, tree]) => importedNames(tree!));
  const inPlace = code.match(/\b(?:package|super)(?:::\w+)+/g) ?? [];
  return [...new Set([...imports, ...inPlace])].flatMap((name) => {
    const [start, ...names] = name.split('::');
    if (WGSL_VIRTUAL_MODULES.has(start!)) return [];
    if (start !== 'package' && start !== 'super') return [`${path} imports ${name} from another package.`];
    // In `a::b` either b is an item of a.wgsl or a/b.wgsl is the module.
    let modulePath = start === 'package' ? folderOf(path) : posix.dirname(path);
    for (const next of names) {
      modulePath = next === 'super' ? posix.dirname(modulePath) : posix.join(modulePath, next);
      if (folderOf(modulePath) === folderOf(path) && `${modulePath}.wgsl` in sources) return [];
    }
    return [`${path} imports ${name}, which is no module of ${folderOf(path)}.`];
  });
}

/** `a::{b, c::{d as e}}` names `a::b` and `a::c::d`. */
function importedNames(tree: string): string[] {
  const spread = tree.replace(/([\w:]+)::\{([^{}]*)\}/g, (_, prefix: string, items: string) =>
    items
      .split(',')
      .filter((item) => item.trim())
      .map((item) => `${prefix}::${item.trim()}`)
      .join(),
  );
  if (spread !== tree) return importedNames(spread);
  return tree.split(',').map((item) => item.trim().split(/\s/)[0]!);
}

function readSources(): Sources {
  const root = fileURLToPath(new URL('../src/', import.meta.url));
  const paths = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => /\.(ts|wgsl)$/.test(path));
  return Object.fromEntries(paths.map((path) => [path, readFileSync(root + path, 'utf8')]));
}

test('the sources keep the order of the layers', { timeout: 30_000 }, () => {
  const sources = readSources();
  expect(Object.keys(sources)).toContain('core/tensor.ts');
  expect(violations(sources)).toEqual([]);
});

/** Paths of files that import each other, types included, each circle as `a.ts → b.ts → a.ts`. */
function circles(sources: Sources): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]): void => {
    if (way.includes(path)) found.push([...way.slice(way.indexOf(path)), path].join(' → '));
    if (done.has(path)) return;
    done.add(path);
    for (const next of importedFiles(path, sources)) visit(next, [...way, path]);
  };
  for (const path of Object.keys(sources)) visit(path, []);
  return found;
}

function importedFiles(path: string, sources: Sources): string[] {
  return [...sources[path]!.matchAll(/\b(?:from|import) '(\.[^'?]+)'/g)]
    .map(([, specifier]) => posix.join(posix.dirname(path), specifier!).replace(/\.js$/, '.ts'))
    .filter((target) => target in sources);
}

test('no files import each other in a circle', () => {
  expect(circles(readSources())).toEqual([]);
});

test('a circle is found, of types too', () => {
  const sources = {
    'core/a.ts': `import type { B } from './b.js';`,
    'core/b.ts': `import { c } from './c.js';`,
    'core/c.ts': `export { a } from './a.js';`,
  };
  expect(circles(sources)).toEqual(['core/a.ts → core/b.ts → core/c.ts → core/a.ts']);
});

/** A kernel with a few modules for it to import. */
function amongKernels(text: string): Sources {
  return {
    'kernels/attn.wgsl': text,
    'kernels/band.wgsl': '',
    'kernels/deeper/words.wgsl': '',
    'runtime/probe.wgsl': '',
  };
}

describe('the check itself', () => {
  test.each([
    { path: 'attention/attn.ts', text: `import { planAttn } from '../plan/planAttn.js';`, why: 'down' },
    { path: 'runtime/runtime.ts', text: `import { pool } from './deeper/pool.js';`, why: 'the own folder' },
    {
      path: 'runtime/deeper/pool.ts',
      text: `import '../runtime.js'; import '../../core/a.js';`,
      why: 'deeper',
    },
    {
      path: 'index.ts',
      text: `export * from './attention/attn.js'; export * from './core/a.js';`,
      why: 'the top',
    },
    {
      path: 'kernels/a.ts',
      text: `import a from './a.wgsl'; import { b } from 'a-package';`,
      why: 'a package',
    },
    {
      path: 'attention/a.ts',
      text: `const f = (b: GPUBuffer, p: GPUComputePassEncoder) => b.size;`,
      why: 'types',
    },
    {
      path: 'attention/a.ts',
      text: `/** Call device.createBuffer or queue.submit. */ const a = 1;`,
      why: 'a comment',
    },
    { path: 'attention/a.ts', text: `typeof pass.dispatchWorkgroups === 'function';`, why: 'a question' },
    {
      path: 'runtime/a.ts',
      text: `device.createBuffer({}); device.queue.submit([]);`,
      why: 'WebGPU in runtime',
    },
  ])('allows $path $text: $why', ({ path, text }) => {
    expect(violations({ [path]: text })).toEqual([]);
  });

  test.each([
    { path: 'core/a.ts', text: `import { b } from '../kernels/b.js';`, why: 'up' },
    { path: 'reference/a.ts', text: `import type { b } from '../paging/b.js';`, why: 'a type, sideways' },
    { path: 'plan/a.ts', text: `import { b } from '../runtime/b.js';`, why: 'plan from runtime' },
    {
      path: 'runtime/a.ts',
      text: `export { b } from '../plan/b.js';`,
      why: 'runtime from plan, by an export',
    },
    { path: 'runtime/deeper/a.ts', text: `import '../../attention/b.js';`, why: 'from deeper' },
    { path: 'kernels/a.ts', text: `const b = await import('../runtime/b.js');`, why: 'a dynamic import' },
    { path: 'kernels/a.ts', text: `let b: import('../attention/b.js').B;`, why: 'an import in a type' },
    { path: 'core/a.ts', text: `import.meta.glob(['../kernels/*.wgsl']);`, why: 'a glob' },
    { path: 'attention/a.ts', text: `import { b } from '../index.js';`, why: 'the top' },
    { path: 'attention/a.ts', text: `import { b } from '..';`, why: 'the top by its folder' },
    { path: 'index.ts', text: `import { b } from '../test/b.js';`, why: 'outside' },
    { path: 'index.ts', text: `import { b } from '/src/core/b.js';`, why: 'from the root' },
    { path: 'attention/a.ts', text: `import { b } from '../utils/b.js';`, why: 'an unknown folder' },
    { path: 'utils/a.ts', text: `export const a = 1;`, why: 'in an unknown folder' },
    { path: 'extra.ts', text: `export const a = 1;`, why: 'beside index.ts' },
    { path: 'attention/a.ts', text: `const b = await import(name);`, why: 'a computed import' },
  ])('refuses $path $text: $why', ({ path, text }) => {
    expect(violations({ [path]: text })).toHaveLength(1);
  });

  test.each([
    `device.createBuffer({ size, usage });`,
    `const { createShaderModule } = device;`,
    `device['createBindGroup']({});`,
    `await this.device.createComputePipelineAsync({});`,
    `encoder.beginComputePass();`,
    `device.queue.submit([]);`,
    `queue.submit([]);`,
    `device.queue?.writeTexture();`,
  ])('refuses WebGPU outside of runtime: %s', (text) => {
    expect(violations({ 'attention/a.ts': text })).toHaveLength(1);
  });

  test.each([`a({ usage: GPUBufferUsage.STORAGE });`, `const { READ } = GPUMapMode;`])(
    'refuses globals that Node may lack: %s',
    (text) => {
      expect(violations({ 'runtime/a.ts': text })).toHaveLength(1);
    },
  );

  test.each([
    `import package::band;`,
    `import package::band::{Band, visible_band as visible};`,
    `@if(PAGED) import super::band::Band;`,
    `import package::{band::Band, deeper::words::{pack, unpack}};`,
    `import constants::{ROWS, COLS};`,
    `// import package::gone::x;`,
    `fn f() { package::band::visible_band(); }`,
  ])('allows in WGSL: %s', (text) => {
    expect(violations(amongKernels(text))).toEqual([]);
  });

  test.each([
    `import package::gone::x;`,
    `import package::{band::Band, gone::x};`,
    `import super::super::runtime::probe::x;`,
    `import random_wgsl::pcg;`,
    `fn f() { package::gone::x(); }`,
  ])('refuses in WGSL: %s', (text) => {
    expect(violations(amongKernels(text))).toHaveLength(1);
  });

  test('says where and why', () => {
    const text = `import { a } from '../core/a.js';\nimport { b } from '../runtime/b.js';\ndevice.createBuffer({});\n`;
    expect(violations({ 'plan/a.ts': text })).toMatchInlineSnapshot(`
      [
        "plan/a.ts:2 imports runtime/b.js, but plan (level 4) may not import runtime (level 4).",
        "plan/a.ts:3 mentions createBuffer; only runtime may call WebGPU.",
      ]
    `);
  });
});
