import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { benchCases, type CaseOptions } from '../../bench/cases/cases.js';
import { scaleCases } from '../../bench/cases/scaleCases.js';
import { countTraffic } from '../../bench/cases/countTraffic.js';
import { DECODE_SHAPES, PREFILL_SHAPES, SHAPES } from '../../bench/cases/shapes.js';
import { linearScale, logScale } from '../../bench/report/plot.js';
import { report } from '../../bench/report/report.js';
import { resultTables } from '../../bench/report/textTable.js';
import type { OnnxCase } from '../../bench/onnx/onnxCases.js';
import {
  bestRightMode,
  skippedOnce,
  type BenchResults,
  type Ceilings,
  type MeasuredOnnxMode,
  type MeasuredOnnxRow,
  type MeasuredRow,
  type Measurement,
  type OnnxRow,
  type Peer,
  type RecordingRow,
  type Row,
} from '../../bench/results.js';
import { summarize } from '../../tools/statistics.js';
import { traitsOf } from '../plan/traits.js';
import { problemOf } from './benchProblem.js';

const OPTIONS: CaseOptions = { software: false, dtype: 'f32', shapes: [], quick: false, full: false };

const MEASUREMENT: Measurement = {
  ms: summarize([10, 12, 11]),
  repetitions: 1,
  gflops: 5,
  gbps: 2,
  memoryBytes: 2560,
};

const NAIVE: Peer = {
  ...MEASUREMENT,
  name: 'naive',
  ms: summarize([40, 48, 44]),
  memoryBytes: 2 ** 22,
  speedup: summarize([4, 4, 4]),
};
const SKIPPED: Peer = { name: 'naive', skipped: 'its scores take 4 GiB' };
const PLAIN: Peer = {
  ...MEASUREMENT,
  name: 'plain',
  bytes: 2 ** 21,
  flops: 1e8,
  ms: summarize([15, 18, 16.5]),
  speedup: summarize([1.4, 1.5, 1.6]),
};
const PREFILL_KERNEL: Peer = { ...NAIVE, name: 'attn_prefill', speedup: summarize([2, 2.5, 3]) };

const RECORDING: RecordingRow = {
  status: 'measured',
  costs: [
    {
      name: 'append',
      sequences: 4,
      layers: 16,
      dispatchesPerLayer: 4,
      layerUs: summarize([6, 7, 8]),
      dispatchUs: summarize([1, 1.1, 1.2]),
      overBare: summarize([1.5, 1.6, 1.7]),
      updateUs: summarize([50, 60, 70]),
      updateOverBare: summarize([50, 55, 60]),
      updateBytes: 2000,
      callUs: summarize([100, 110, 120]),
      callOverBare: summarize([90, 100, 110]),
      steps: 16,
      madeByLayers: { createBuffer: 0, createBindGroup: 0, writeBuffer: 0 },
      madeByUpdates: { createBuffer: 0, createBindGroup: 0, writeBuffer: 96 },
    },
  ],
};

const ONNX_CASE: OnnxCase = {
  operator: 'GroupQueryAttention',
  kind: 'prefill',
  dtype: 'f32',
  nHeads: 8,
  nKvHeads: 2,
  headDim: 64,
  nTokens: 512,
  nKeys: 512,
};
const ONNX_MODE: MeasuredOnnxMode = {
  mode: 'no subgroups',
  ms: summarize([40, 44, 48]),
  ratio: summarize([0.25, 0.25, 0.25]),
  maxDifference: 1e-6,
  allowed: 1e-4,
  right: true,
};
const ONNX_ROW: MeasuredOnnxRow = {
  case: ONNX_CASE,
  status: 'measured',
  version: '1.30.0',
  check: { against: 'reference', maxDifference: 1e-7, allowed: 2e-5 },
  pageflashMs: summarize([9, 11, 13]),
  modes: [
    { ...ONNX_MODE, mode: 'subgroups', ms: summarize([20, 22, 24]), maxDifference: 0.35, right: false },
    ONNX_MODE,
  ],
};
const ONNX_SKIPPED: OnnxRow = {
  case: { ...ONNX_CASE, operator: 'PagedAttention', dtype: 'f16' },
  status: 'skipped',
  message: 'the device has no <shader-f16>',
};
const CEILINGS: Ceilings = { readGbps: 20, copyGbps: 18, fmaGflops: 50 };

/** What `--scale` and `--peers` add. */
function moreResults(): Pick<BenchResults, 'ceilings' | 'scale' | 'onnx'> {
  const cases = scaleCases({ ...OPTIONS, software: true, maxBindingBytes: 2 ** 27 });
  const scale = cases.map((benchCase): Row => {
    const row = { case: benchCase, status: 'measured', flops: 5e7, checks: [], peers: [] } as const;
    return { ...row, pageflash: MEASUREMENT };
  });
  return { ceilings: CEILINGS, scale, onnx: [ONNX_ROW, ONNX_SKIPPED] };
}

/** Rows of options: one that fails, and one of two families. */
const FEATURE_NAMES = ['kv-i4-turned', 'tree-16', 'prefix-8'];

/** Every shape once: one failed, one whose naive peer was skipped, all others measured. */
function results(): BenchResults {
  const cases = benchCases({
    ...OPTIONS,
    software: true,
    quick: true,
    shapes: [...SHAPES.map(({ name }) => name), ...FEATURE_NAMES],
  });
  const rows = cases.map((benchCase, i): Row => {
    if (i === 0 || benchCase.shape === 'tree-16')
      return { case: benchCase, status: 'failed', message: `off by <${i}>` };
    const naive = i === 1 ? SKIPPED : NAIVE;
    const row: MeasuredRow = {
      case: benchCase,
      status: 'measured',
      flops: 5e7,
      checks: [{ against: 'reference', maxDifference: 1e-6, allowed: 5e-5 }],
      pageflash: MEASUREMENT,
      peers: [naive],
    };
    if (benchCase.kind === 'feature')
      return { ...row, pageflash: { ...MEASUREMENT, bytes: 2 ** 20, flops: 1e8 }, peers: [PLAIN] };
    if (benchCase.kind !== 'decode' || benchCase.headDimV !== undefined) return row;
    const traffic = countTraffic(problemOf(benchCase), traitsOf({}));
    return { ...row, peers: [naive, PREFILL_KERNEL], traffic };
  });
  return {
    format: 3,
    date: '2026-01-02T03:04:05.678Z',
    commit: 'unknown',
    environment: 'Chrome 156',
    platform: 'linux',
    adapter: {
      vendor: 'acme',
      architecture: 'a1',
      device: '',
      description: 'Acme <GPU> & co',
      software: true,
      features: ['subgroups'],
      maxBindingBytes: 2 ** 27,
    },
    options: { dtype: 'f32', shapes: [], quick: true, full: false },
    rows,
    recording: RECORDING,
  };
}

describe('scales', () => {
  const range = [0, 100] as const;

  test('a logarithmic scale starts and ends at a tick', () => {
    const { ticks, at } = logScale({ values: [30, 400], range }, [{ base: 10, digits: [1, 2, 5] }]);
    expect(ticks).toEqual([20, 50, 100, 200, 500]);
    expect([at(20), at(100), at(500)].map(Math.round)).toEqual([0, 50, 100]);
  });

  test('a single value does not collapse the scale', () => {
    const { ticks, at } = logScale({ values: [1000], range }, [{ base: 10, digits: [1] }]);
    expect(ticks).toEqual([1000, 10_000]);
    expect(at(1000)).toBe(0);
  });

  test('a logarithmic scale takes the finest ticks that are not too dense', () => {
    const choices = [2, 4, 32].map((base) => ({ base, digits: [1] }));
    const { ticks } = logScale({ values: [2 ** 11, 2 ** 24], range }, choices);
    expect(ticks.map(Math.log2)).toEqual([10, 12, 14, 16, 18, 20, 22, 24, 26]);
  });

  test('a linear scale starts at 0', () => {
    const { ticks, at } = linearScale({ values: [4.9], range });
    expect(ticks).toEqual([0, 1, 2, 3, 4, 5]);
    expect(at(0)).toBe(0);
  });
});

describe('the report', () => {
  const html = report(results());

  test.each(SHAPES)('has $name', ({ name, model }) => {
    expect(html).toContain(`<td>${name}<small>`);
    expect(html).toContain(`<dd>${model}`);
  });

  test('plots all measured rows', () => {
    const plots = html.match(/<svg[^]*?<\/svg>/g)!;
    expect(plots).toHaveLength(8);
    const decoding = DECODE_SHAPES.map(({ name }) => name);
    const named = [PREFILL_SHAPES.slice(1).map(({ name }) => name), decoding].flatMap((names) =>
      Array.from({ length: 3 }, () => names),
    );
    const options = ['formats', 'kv-i4-turned', 'prefix', 'prefix-8'];
    [...named, options, options].forEach((names, i) => {
      const plot = plots[i]!;
      for (const name of names) expect(plot).toContain(`>${name}</text>`);
      expect(plot).not.toMatch(/NaN|Infinity|undefined/);
    });
  });

  test('has a style for pageflash and every peer', () => {
    for (const name of ['pageflash', 'naive', 'attn_prefill', 'plain']) {
      expect(html).toContain(`svg .${name} {`);
      expect(html).toContain(`<circle class="${name}"`);
    }
  });

  test('says which rows failed and which peers were skipped', () => {
    expect(html).toContain('2 of 18 rows failed');
    expect(html).toContain('off by &lt;0&gt;');
    expect(html).toContain('off by &lt;16&gt;');
    expect(html).toContain('not run: its scores take 4 GiB');
  });

  test('has options beside plain calls, and what they should give on paper', () => {
    expect(html).toContain('<td>kv-i4-turned<small class="text">a decode step over i4');
    expect(html).toContain('plain: over halves');
    // Half the bytes, and as many scores.
    expect(html).toMatch(/1\.50×<small>.*?<td>2\.00×<\/td><td>1\.00×<\/td>/);
    expect(html).toContain('<h3>Shared prefixes</h3>');
    expect(html).not.toContain('<h3>Block masks</h3>');
    expect(html).toContain('8/2×128, 4 × 2048, f16</small>');
    expect(html).toContain('<dt>options of a call</dt><dd>Llama-3-8B, scaled down from 32/8');
  });

  test('shows what recording costs, or why it failed', () => {
    expect(html).toContain('to record a planned layer of 4 dispatches; a bare dispatch takes 1.1 µs');
    const failed = report({ ...results(), recording: { status: 'failed', message: 'made <2>' } });
    expect(failed).toContain('made &lt;2&gt;');
  });

  test('escapes text from drivers', () => {
    expect(html).toContain('Acme &lt;GPU&gt; &amp; co');
    expect(html).not.toContain('<GPU>');
  });

  test('has a note, if there is one', () => {
    expect(report({ ...results(), note: 'from <before>' })).toContain(
      '<p class="soft">from &lt;before&gt;</p>',
    );
  });

  test('is self-contained', () => {
    expect(html).not.toMatch(/<script|<link|src=|url\(|@import|https?:/);
  });

  test('works without any speed-up', () => {
    const { rows, ...rest } = results();
    const alone = report({ ...rest, rows: rows.slice(0, 2) });
    expect(alone.match(/<svg[^]*?<\/svg>/g)!.join()).not.toMatch(/NaN|Infinity|undefined/);
  });

  test('works without any measured row', () => {
    const { rows, recording: _recording, ...rest } = results();
    const alone = report({ ...rest, rows: rows.slice(0, 1) });
    expect(alone).toContain('1 of 1 rows failed');
    expect(alone).not.toContain('<h2>Decoding');
    expect(alone).not.toContain('<h2>Recording');
  });
});

describe('what --scale and --peers add to the report', () => {
  const html = report({ ...results(), ...moreResults() });

  test('curves of time and memory, with the line of the rate that was measured', () => {
    const plots = html.match(/<svg[^]*?<\/svg>/g)!;
    const curves = plots.filter((plot) => plot.includes('class="path"'));
    expect(curves).toHaveLength(4);
    for (const curve of curves) expect(curve).toContain('class="dashed"');
    expect(plots.join()).not.toMatch(/NaN|Infinity|undefined/);
    expect(curves[1]).toContain('<title>131072: 11 ms, dashed 1.1 ms</title>');
  });

  test('no line without a rate', () => {
    const { scale } = moreResults();
    const plots = report({ ...results(), scale: scale! }).match(/<svg[^]*?<\/svg>/g)!;
    // Those of memory keep theirs, the size of inputs and output.
    expect(plots.filter((plot) => plot.includes('class="dashed"'))).toHaveLength(2);
  });

  test('shares of the rates in the tables', () => {
    expect(html).toContain('5<small>10 %</small>');
    expect(html).toContain('<small>10 % of reading</small>');
    expect(html).toContain('reads 20 GB/s, copies 18 GB/s');
  });

  test('each mode of onnxruntime-web, and the ratio to the fastest that is right', () => {
    expect(bestRightMode(ONNX_ROW)?.mode).toBe('no subgroups');
    expect(html).toContain('onnxruntime-web 1.30.0 runs');
    expect(html).toContain('ratio 0.25');
    expect(html).toContain('<circle class="wrong"');
    expect(html).toContain('3.5e-1<small><span class="bad">wrong</span></small>');
    expect(html).toContain('not run: the device has no &lt;shader-f16&gt;');
  });

  test('one reason is told once', () => {
    const longer: OnnxRow = { ...ONNX_SKIPPED, case: { ...ONNX_SKIPPED.case, nKeys: 1024 } };
    expect(skippedOnce([ONNX_ROW, ONNX_SKIPPED, longer])).toEqual([ONNX_SKIPPED]);
  });

  test('a wide spread is told', () => {
    expect(html).toContain('<small class="wide">spread 18 %</small>');
  });
});

describe('committed results', () => {
  const folder = fileURLToPath(new URL('../../bench/results/', import.meta.url));
  const names = readdirSync(folder).filter((name) => /(?<!^latest)\.json$/.test(name));

  test.each(names)('%s can be reported', (name) => {
    const committed = JSON.parse(readFileSync(folder + name, 'utf8')) as BenchResults;
    expect(committed.format).toBe(3);
    const html = report(committed);
    for (const row of committed.rows) expect(html).toContain(`<td>${row.case.shape}<small>`);
    expect(html).not.toMatch(/NaN|Infinity|undefined/);
    expect(resultTables(committed)).not.toMatch(/NaN|Infinity|undefined/);
  });
});

test('the tables for the terminal', () => {
  expect(resultTables(results())).toMatchInlineSnapshot(`
    "shape             heads    S  pageflash  naive              speed-up  GFLOP/s  naive  extra memory  naive
    llama-3-8b      4/1×128  512      11 ms      —                     —        5      —       2.5 KiB      —
    qwen2.5-7b      7/1×128  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB
    gemma-2-9b      2/1×256  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB
    gemma-4-global  4/1×512  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB
    llama-3.2-1b     4/1×64  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB
    encoder-base     2/2×64  512      11 ms  44 ms  4.00× [4.00×, 4.00×]        5      5       2.5 KiB  4 MiB

    shape                heads        keys  pageflash  naive              speed-up  attn_prefill  speed-up  GB/s  moved ÷ needed  issued ÷ needed  extra memory  naive
    decode-mha         8/8×128    1 × 2048      11 ms  44 ms  4.00× [4.00×, 4.00×]         44 ms     2.50×     2           1.007            1.088       2.5 KiB  4 MiB
    decode-gqa         8/1×128    2 × 2048      11 ms  44 ms  4.00× [4.00×, 4.00×]         44 ms     2.50×     2           1.047            1.116       2.5 KiB  4 MiB
    decode-ragged      8/2×128  8 × ≤ 4000      11 ms  44 ms  4.00× [4.00×, 4.00×]         44 ms     2.50×     2           1.025            1.108       2.5 KiB  4 MiB
    decode-long        8/1×128   1 × 16384      11 ms  44 ms  4.00× [4.00×, 4.00×]         44 ms     2.50×     2           1.049            1.118       2.5 KiB  4 MiB
    decode-gemma       4/1×512    1 × 4096      11 ms  44 ms  4.00× [4.00×, 4.00×]         44 ms     2.50×     2           1.023            1.036       2.5 KiB  4 MiB
    decode-mla        16/1×576    4 × 4096      11 ms  44 ms  4.00× [4.00×, 4.00×]             —         —     2               —                —       2.5 KiB  4 MiB
    decode-mla-wide  128/1×576    1 × 4096      11 ms  44 ms  4.00× [4.00×, 4.00×]             —         —     2               —                —       2.5 KiB  4 MiB
    decode-small        8/2×64    1 × 2048      11 ms  44 ms  4.00× [4.00×, 4.00×]         44 ms     2.50×     2           1.025            1.116       2.5 KiB  4 MiB

    option          heads      keys    own    plain           plain ÷ own  on paper by bytes  by scores  plain is
    kv-i4-turned  8/2×128  4 × 2048  11 ms  16.5 ms  1.50× [1.45×, 1.55×]              2.00×      1.00×  over halves
    prefix-8      8/2×128  8 × 2176  11 ms  16.5 ms  1.50× [1.45×, 1.55×]              2.00×      1.00×  each reads its own

    a layer does  sequences  dispatches          planned layer              bare dispatch  planned ÷ bare  calls by layers
    append                4           4  7 µs [6.5 µs, 7.5 µs]  1.1 µs [1.05 µs, 1.15 µs]           1.60×          nothing

    a step does  sequences  planning a step  ÷ bare   garbage  a call  ÷ bare
    append               4            60 µs   55.0×  1.95 KiB  110 µs    100×

    llama-3-8b 512: naive was not run, as its scores take 4 GiB.
    FAILED llama-7b 512: off by <0>
    FAILED tree-16: off by <16>"
  `);
});

test('the tables of --scale and --peers', () => {
  expect(resultTables({ rows: [], ...moreResults() })).toMatchInlineSnapshot(`
    "beside onnxruntime-web                                   pageflash               subgroups            no subgroups              ratio
    GroupQueryAttention 8/2×64 f32, prompt of 512  11 ms (spread 18 %)  22 ms, WRONG by 3.5e-1  44 ms, right by 1.0e-6  0.25 [0.25, 0.25]

    scale      heads  length  pageflash  GFLOP/s  GB/s  of the device  extra memory
    prefill  4/1×128     128      11 ms        5     2           10 %       2.5 KiB
    prefill  4/1×128     256      11 ms        5     2           10 %       2.5 KiB
    prefill  4/1×128     512      11 ms        5     2           10 %       2.5 KiB
    prefill  4/1×128    1024      11 ms        5     2           10 %       2.5 KiB
    prefill  4/1×128    2048      11 ms        5     2           10 %       2.5 KiB
    decode   8/2×128     512      11 ms        5     2           10 %       2.5 KiB
    decode   8/2×128    1024      11 ms        5     2           10 %       2.5 KiB
    decode   8/2×128    2048      11 ms        5     2           10 %       2.5 KiB
    decode   8/2×128    4096      11 ms        5     2           10 %       2.5 KiB
    decode   8/2×128    8192      11 ms        5     2           10 %       2.5 KiB
    decode   8/2×128   16384      11 ms        5     2           10 %       2.5 KiB
    decode   8/2×128   32768      11 ms        5     2           10 %       2.5 KiB
    decode   8/2×128   65536      11 ms        5     2           10 %       2.5 KiB
    decode   8/2×128  131072      11 ms        5     2           10 %       2.5 KiB

    The device reads 20 GB/s, copies 18 GB/s (read and written), multiplies and adds 50 GFLOP/s in f32.

    PagedAttention f16: not run, as the device has no <shader-f16>."
  `);
});

test('the tables say that recording failed', () => {
  expect(resultTables({ rows: [], recording: { status: 'failed', message: 'made a buffer' } })).toBe(
    'FAILED recording: made a buffer',
  );
});
