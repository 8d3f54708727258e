import { describe, expect, test } from 'vitest';
import { detectRaces } from 'wgsl_reflect/wgsl_reflect.module.js';
import type { Dispatch } from '../src/core/dispatch.js';
import type { AttentionProblem } from '../src/kernels/attentionProblem.js';
import { attnPrefill, type PrefillTile } from '../src/kernels/attnPrefill.js';
import { hostTables } from '../src/kernels/attnTables.js';
import { link } from '../src/kernels/link.js';
import { packed } from '../src/runtime/packed.js';
import { fakeTensor } from './support/fakeDevice.js';

// The kernels run on the CPU, all invocations of a workgroup in lockstep, and every access to workgroup memory between
// two barriers is compared. Tiles are tiny, since this is slow, but have several of everything.
const TILE: PrefillTile = {
  teams: 2,
  lanes: 2,
  rows: 2,
  cols: 4,
  headQuads: 8,
  chunkQuads: 4,
  valueKeys: 4,
  qResident: true,
  subgroups: false,
  broadcast: false,
  f16Tiles: false,
  rolled: false,
};

const HEAD_DIM = 32;
const LENGTHS = {
  qStart: Int32Array.of(0),
  qLen: Int32Array.of(5),
  kStart: Int32Array.of(0),
  kLen: Int32Array.of(19),
};

function prefill(tile: PrefillTile, pageSize: number | undefined): Dispatch {
  const keys = pageSize ? [8, pageSize, 1, HEAD_DIM] : [19, 1, HEAD_DIM];
  const problem: AttentionProblem = {
    batch: 1,
    nHeads: 2,
    nKvHeads: 1,
    headDim: HEAD_DIM,
    headDimV: HEAD_DIM,
    q: { tensor: fakeTensor('f32', [5, 2, HEAD_DIM]), sequence: 0, token: 2 * HEAD_DIM, head: HEAD_DIM },
    k: {
      tensor: fakeTensor('f32', keys),
      sequence: 0,
      page: (pageSize ?? 0) * HEAD_DIM,
      token: HEAD_DIM,
      head: HEAD_DIM,
    },
    v: {
      tensor: fakeTensor('f32', keys),
      sequence: 0,
      page: (pageSize ?? 0) * HEAD_DIM,
      token: HEAD_DIM,
      head: HEAD_DIM,
    },
    out: { tensor: fakeTensor('f32', [5, 2, HEAD_DIM]), sequence: 0, token: 2 * HEAD_DIM, head: HEAD_DIM },
    lse: { tensor: fakeTensor('f32', [2, 5]), sequence: 0, token: 1, head: 5 },
    pages: pageSize
      ? { pageSize, nPages: 8, table: Int32Array.of(3, 1, 4, 0, 5, 2, 6, 7), width: 8, stride: 8 }
      : null,
    masks: { left: -1, right: 0, attentionChunk: 0 },
    softmaxScale: 0.3,
    softcap: 0,
    slopes: null,
    sinks: null,
  };
  const tables = hostTables(problem, LENGTHS);
  // The second tile of rows; the heaviest comes first when planned.
  const items = Uint32Array.of(0, 1, 0, 0);
  return attnPrefill({ problem, tile, tables, items, range: [0, 1], maxWorkgroupsPerDimension: 65535 });
}

function races(
  { kernel, spec, params, bindings, grid }: Dispatch,
  edit = (code: string) => code,
): readonly string[] {
  const code = edit(barriersBare(constantsFirst(link(kernel, spec))));
  const group = Object.fromEntries(
    kernel.bindings.map(({ name, binding, access }) => {
      if (access === 'uniform') return [binding, { uniform: packed(kernel.params, params).buffer }];
      const bound = bindings[name];
      if (!bound) return [binding, new ArrayBuffer(16)];
      if (ArrayBuffer.isView(bound)) return [binding, bound.buffer.slice(0)];
      if ('scratch' in bound) return [binding, new ArrayBuffer(bound.bytes)];
      return [binding, Float32Array.from({ length: bound.buffer.size / 4 }, (_, i) => Math.sin(i)).buffer];
    }),
  );
  const result = detectRaces(code, kernel.name, [...grid], { 0: group });
  expect(result.errors).toEqual([]);
  return result.races.map((race) => JSON.stringify(race));
}

/** The interpreter evaluates constants in the order of the text, which WGSL leaves open. */
function constantsFirst(code: string): string {
  const constants = code.match(/^const \w+ = \d+u;$/gm) ?? [];
  return [...constants, code.replace(/^const \w+ = \d+u;$/gm, '')].join('\n');
}

/**
 * The detector does not see a barrier within an `if`. The only one stands between two chunks of a head; bare, it stands
 * after the last one as well, which the tile of one chunk shows not to matter.
 */
function barriersBare(code: string): string {
  const hasChunks = !/const CHUNK_QUADS = 8u;/.test(code);
  return hasChunks ? code.replace(/if \([^{]*\) \{\s*(workgroupBarrier\(\);)\s*}/, '$1') : code;
}

const tiles: readonly { why: string; tile: PrefillTile; pageSize?: number }[] = [
  { why: 'queries stay', tile: TILE },
  { why: 'queries are staged with each chunk', tile: { ...TILE, qResident: false } },
  { why: 'one chunk, values in one step', tile: { ...TILE, chunkQuads: 8, valueKeys: 8 } },
  { why: 'pages of three', tile: TILE, pageSize: 3 },
];

describe('attn_prefill', () => {
  test.each(tiles)('has no race: $why', ({ tile, pageSize }) => {
    expect(races(prefill(tile, pageSize))).toEqual([]);
  });

  test('every barrier is needed', () => {
    const dispatch = prefill({ ...TILE, qResident: false }, 3);
    const barriers = link(dispatch.kernel, dispatch.spec).split('workgroupBarrier();').length - 1;
    expect(barriers).toBeGreaterThan(4);
    for (let removed = 0; removed < barriers; removed++) {
      let seen = 0;
      const without = (code: string) =>
        code.replace(/workgroupBarrier\(\);/g, (barrier) => (seen++ === removed ? '' : barrier));
      expect(races(dispatch, without), `without barrier ${removed + 1} of ${barriers}`).not.toEqual([]);
    }
  });
});
