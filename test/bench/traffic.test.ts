import { describe, expect, test } from 'vitest';
import { decodeCases, type CaseOptions } from '../../bench/cases/cases.js';
import { countTraffic } from '../../bench/cases/countTraffic.js';
import { excessOf, type Traffic } from '../../bench/cases/traffic.js';
import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import { planCachedAttention } from '../../src/plan/planAppend.js';
import { accessedBytes, type AccessedBytes } from '../kernels/accessedBytes.js';
import { HostBuffers } from '../kernels/interpreter.js';
import { batchOf } from '../plan/batch.js';
import { problemOf } from './benchProblem.js';
import { traitsOf } from '../plan/traits.js';

const OPTIONS: CaseOptions = { software: false, dtype: 'f32', shapes: [], quick: false, full: false };

const GPUS: readonly (readonly [name: string, traits: DeviceTraits])[] = [
  ['default limits', traitsOf({})],
  [
    'all features',
    traitsOf({ shaderF16: true, subgroupMinSize: 32, subgroupMaxSize: 32, maxWorkgroupBytes: 32768 }),
  ],
];

/** Those whose keys and values have pages of their own: where these are one, what is read twice comes from caches. */
function pagesOfTheirOwn(options: CaseOptions) {
  return decodeCases(options).filter(({ headDimV }) => headDimV === undefined);
}

describe('bytes that a decode step moves, over those that it needs', () => {
  const cases = (dtype: 'f32' | 'f16') =>
    GPUS.flatMap(([gpu, traits]) =>
      pagesOfTheirOwn({ ...OPTIONS, dtype }).map((benchCase) => {
        const excess = excessOf(countTraffic(problemOf(benchCase), traits));
        return { gpu, shape: benchCase.shape, ...excess };
      }),
    );

  test.each([...cases('f32'), ...cases('f16')])('$shape, $gpu: reads are below 1.051', ({ read }) => {
    expect(read).toBeLessThan(1.051);
  });

  test.each(cases('f32'))('$shape in f32, $gpu: with writes below 1.05', ({ moved }) => {
    expect(moved).toBeLessThan(1.05);
  });

  test('all figures', () => {
    const lines = (['f32', 'f16'] as const).flatMap((dtype) =>
      cases(dtype).map(({ gpu, shape, read, moved, issued }) =>
        [dtype, gpu.padEnd(14), shape.padEnd(13), ...[read, moved, issued].map((x) => x.toFixed(3))].join(
          '  ',
        ),
      ),
    );
    expect(['      GPU             shape          reads  moved  issued', ...lines].join('\n'))
      .toMatchInlineSnapshot(`
        "      GPU             shape          reads  moved  issued
        f32  default limits  decode-mha     1.005  1.007  1.088
        f32  default limits  decode-gqa     1.031  1.047  1.116
        f32  default limits  decode-ragged  1.017  1.025  1.108
        f32  default limits  decode-long    1.033  1.049  1.118
        f32  default limits  decode-gemma   1.016  1.023  1.036
        f32  default limits  decode-small   1.017  1.025  1.116
        f32  all features    decode-mha     1.005  1.007  1.088
        f32  all features    decode-gqa     1.031  1.047  1.147
        f32  all features    decode-ragged  1.017  1.025  1.144
        f32  all features    decode-long    1.033  1.049  1.150
        f32  all features    decode-gemma   1.016  1.023  1.036
        f32  all features    decode-small   1.017  1.025  1.180
        f16  default limits  decode-mha     1.008  1.012  1.161
        f16  default limits  decode-gqa     1.048  1.080  1.203
        f16  default limits  decode-ragged  1.027  1.043  1.193
        f16  default limits  decode-long    1.050  1.082  1.206
        f16  default limits  decode-gemma   1.024  1.040  1.093
        f16  default limits  decode-small   1.027  1.044  1.212
        f16  all features    decode-mha     1.008  1.012  1.161
        f16  all features    decode-gqa     1.048  1.080  1.268
        f16  all features    decode-ragged  1.027  1.043  1.269
        f16  all features    decode-long    1.050  1.082  1.270
        f16  all features    decode-gemma   1.024  1.040  1.109
        f16  all features    decode-small   1.027  1.044  1.345"
      `);
  });

  test('needed: each key and value once per kv head, queries and outputs', () => {
    const [benchCase] = decodeCases({ ...OPTIONS, dtype: 'f16', shapes: ['decode-gqa'] });
    const { needed } = countTraffic(problemOf(benchCase!), GPUS[0]![1]);
    expect(needed).toEqual({
      k: 2 * 2048 * 4 * 128 * 2,
      v: 2 * 2048 * 4 * 128 * 2,
      q: 2 * 32 * 128 * 2,
      blockTable: 0,
      metadata: 0,
      partialsWritten: 0,
      partialsRead: 0,
      out: 2 * 32 * 128 * 2,
    });
  });

  test('the kernels, run on the CPU, load and store exactly what is counted', () => {
    const traits = traitsOf({ maxWorkgroupInvocations: 64 });
    const batch = batchOf(
      [
        [1, 150],
        [1, 20],
      ],
      { heads: [2, 1], headDim: 32, pageSize: 16, masks: { right: 0 }, numSplits: 2 },
    );
    const { moved, issued } = countTraffic(batch, traits);
    const buffers = new HostBuffers();
    const dispatches = planCachedAttention(batch.problem, batch.lengths, traits);
    const accesses = dispatches.map((dispatch) => accessedBytes(dispatch, buffers));
    expect(comparable(moved)).toEqual(sumOf(accesses, 'distinct'));
    expect(comparable(issued)).toEqual(sumOf(accesses, 'all'));
  });
});

/** Traffic without metadata, which is uniform over a workgroup and so counted once. */
function comparable({ metadata: _metadata, ...rest }: Traffic): Omit<Traffic, 'metadata'> {
  return rest;
}

function sumOf(accesses: readonly AccessedBytes[], which: 'all' | 'distinct'): Omit<Traffic, 'metadata'> {
  const of = (name: string, split?: boolean) =>
    accesses.filter(
      ({ dispatch: { kernel, spec } }) =>
        kernel.name === name && (split === undefined || spec['SPLIT'] === split),
    );
  const bytes = (from: readonly AccessedBytes[], ...bindings: string[]) =>
    from.flatMap((one) => bindings.map((binding) => one[which].get(binding) ?? 0)).reduce((a, b) => a + b, 0);
  const attention = of('attn_decode');
  const merges = of('merge_states');
  return {
    k: bytes(attention, 'k'),
    v: bytes(attention, 'v'),
    q: bytes(attention, 'q'),
    blockTable: bytes(attention, 'block_table'),
    partialsWritten: bytes(of('attn_decode', true), 'out', 'lse'),
    partialsRead: bytes(merges, 'a_out', 'a_lse'),
    out: bytes([...of('attn_decode', false), ...merges], 'out', 'lse'),
  };
}
