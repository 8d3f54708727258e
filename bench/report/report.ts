import { formatBytes, formatRatio, formatUs } from '../../tools/format.js';
import { geometricMean } from '../../tools/statistics.js';
import {
  caseName,
  DECODE_SOFTWARE_DIVISOR,
  headsOf,
  PREFILL_SOFTWARE_DIVISOR,
  type BenchCase,
  type FeatureCase,
  type ShapeKind,
} from '../cases/cases.js';
import { FEATURE_SHAPES } from '../cases/featureShapes.js';
import { PAGE_SIZE, SHAPES, type ModelHeads } from '../cases/shapes.js';
import {
  adapterName,
  bestRightMode,
  ceilingsText,
  isMeasured,
  measuredPeer,
  type BenchResults,
  type MeasuredRow,
  type OnnxRow,
  type PeerName,
  type RecordingRow,
} from '../results.js';
import { featureSections } from './featureSection.js';
import { escape, STYLE } from './html.js';
import { onnxSection } from './onnxSection.js';
import { scaleSection } from './scaleSection.js';
import { kindSections, recordingSection } from './sections.js';

/** The results as a self-contained HTML page. */
export function report(results: BenchResults): string {
  const { adapter, environment, date, rows, options, recording, ceilings, onnx, note } = results;
  const subtitle = `${adapterName(adapter)} · ${environment} · ${options.dtype} · ${date.slice(0, 10)}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<title>pageflash against naive attention · ${escape(adapterName(adapter))}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>pageflash against naive attention</h1>
<p class="subtitle soft">${escape(subtitle)}</p>
${note === undefined ? '' : `<p class="soft">${escape(note)}</p>`}
${failures(results)}
<div class="tiles">${tiles(rows.filter(isMeasured), results)}</div>
${kindSections('prefill', rows, ceilings)}
${kindSections('decode', rows, ceilings)}
${featureSections(rows)}
${onnxSection(onnx)}
${scaleSection(results)}
${recordingSection(recording)}
${about(results)}
</main>
</body>
</html>
`;
}

function failures({ rows, scale = [], onnx = [] }: BenchResults): string {
  const all = [...rows, ...scale, ...onnx];
  const failed = all.filter(({ status }) => status === 'failed').length;
  if (failed === 0) return '';
  return `<p class="failed">${failed} of ${all.length} rows failed; the table says why.</p>`;
}

/** The results in a few numbers, each in a tile. */
function tiles(rows: readonly MeasuredRow[], { recording, onnx }: BenchResults): string {
  const prompts = (causal: boolean) =>
    rows.filter(({ case: benchCase }) => benchCase.kind === 'prefill' && benchCase.causal === causal);
  const steps = rows.filter((row) => row.case.kind === 'decode');
  return [
    speedupTile('prompts, causal', prompts(true), 'naive'),
    speedupTile('prompts, not causal', prompts(false), 'naive'),
    speedupTile('decoding', steps, 'naive'),
    speedupTile('decoding, against the prefill kernel', steps, 'attn_prefill'),
    memoryTile(rows),
    onnxTile('prefill', 'prompts', onnx),
    onnxTile('decode', 'decoding', onnx),
    recordingTile(recording),
  ].join('');
}

function speedupTile(what: string, rows: readonly MeasuredRow[], name: PeerName): string {
  return meanTile(
    what,
    rows.flatMap((row) => measuredPeer(row, name)?.speedup.median ?? []),
  );
}

/** Against onnxruntime-web in its fastest mode that is right. */
function onnxTile(kind: ShapeKind, what: string, rows: readonly OnnxRow[] = []): string {
  const measured = rows.filter((row) => row.status === 'measured').filter((row) => row.case.kind === kind);
  const ratios = measured.flatMap((row) => bestRightMode(row)?.ratio.median ?? []);
  return meanTile(
    `${what}, against onnxruntime-web`,
    ratios.map((ratio) => 1 / ratio),
  );
}

function meanTile(what: string, speedups: readonly number[]): string {
  if (speedups.length === 0) return '';
  const range = `${formatRatio(Math.min(...speedups))} to ${formatRatio(Math.max(...speedups))}`;
  const mean =
    speedups.length === 1 ? 'one speed-up' : `geometric mean of ${speedups.length} speed-ups, ${range}`;
  return tile(formatRatio(geometricMean(speedups)), `${what}: ${mean}`);
}

function memoryTile(rows: readonly MeasuredRow[]): string {
  const pairs = rows.flatMap((row) => {
    const naive = measuredPeer(row, 'naive')?.memoryBytes;
    return naive === undefined ? [] : [{ name: caseName(row.case), own: row.pageflash.memoryBytes, naive }];
  });
  const most = pairs.toSorted((a, b) => b.naive - a.naive)[0];
  if (!most) return '';
  return tile(
    formatBytes(most.own),
    `extra memory where naive attention takes most, ${formatBytes(most.naive)} (${most.name})`,
  );
}

function recordingTile(recording: RecordingRow | undefined): string {
  if (recording?.status !== 'measured') return '';
  const { layerUs, dispatchesPerLayer, dispatchUs } = recording.costs[0]!;
  return tile(
    formatUs(layerUs.median),
    `to record a planned layer of ${dispatchesPerLayer} dispatches; a bare dispatch takes ${formatUs(dispatchUs.median)}`,
  );
}

function tile(number: string, what: string): string {
  return `<div class="tile"><b>${escape(number)}</b><span>${escape(what)}</span></div>`;
}

/** What was measured, and on what. */
function about(results: BenchResults): string {
  const { adapter, environment, platform, commit, date, options, rows, ceilings } = results;
  const facts: readonly (readonly [string, string])[] = [
    ['Adapter', adapterName(adapter)],
    [
      'Vendor, architecture',
      [adapter.vendor, adapter.architecture].filter(Boolean).join(', ') || 'not given',
    ],
    ['Features', adapter.features.join(', ') || 'none'],
    ['Largest binding', formatBytes(adapter.maxBindingBytes)],
    ...(ceilings ? [['Rates', ceilingsText(ceilings)] as const] : []),
    ['Ran in', environment],
    ['Machine', platform],
    ['Commit', commit],
    ['Date', date],
    ['Options', optionsText(options)],
    ...shapeFacts(rows),
  ];
  const list = facts.map(([term, text]) => `<dt>${escape(term)}</dt><dd>${escape(text)}</dd>`).join('\n');
  const scaled = rows.some(({ case: { scaled: is } }) => is)
    ? `<p class="soft">The adapter runs shaders on the CPU, so the models are scaled down: kv heads and windows of prompts are
divided by ${PREFILL_SOFTWARE_DIVISOR}, kv heads of decode steps by ${DECODE_SOFTWARE_DIVISOR}. Each kv head keeps its number of query heads.</p>`
    : '';
  return `<section>
<h2>What was measured, and on what</h2>
${scaled}<p class="soft">Naive attention is three dispatches: scores, softmax, values. It skips masked scores and reads four
numbers at a time, as a good first version in WebGPU would. For decoding it gathers keys and values from their pages first.
attn_prefill is pageflash's own prefill kernel, made to decode through the block table. Outputs are checked against each
other, then all are timed in interleaved rounds. Pages have ${PAGE_SIZE} tokens and are in random order.</p>
<dl class="facts">
${list}
</dl>
</section>`;
}

function optionsText({ dtype, quick, full, shapes }: BenchResults['options']): string {
  const flags = [quick && 'quick', full && 'full', ...shapes].filter((flag) => flag !== false);
  return [dtype, ...flags].join(', ');
}

function shapeFacts(rows: BenchResults['rows']): [string, string][] {
  const cases = new Map(rows.map((row) => [row.case.shape, row.case]));
  const options = [...cases.values()].filter((one) => one.kind === 'feature');
  const facts = [...cases.values()].flatMap((benchCase): [string, string][] => {
    if (benchCase.kind === 'feature') return [];
    const { shape, model } = benchCase;
    const details = [
      `${headsOf(benchCase)} (query heads / kv heads × head size)`,
      ...(benchCase.kind === 'prefill' ? maskFacts(benchCase) : [`keys ${benchCase.keys.join(', ')}`]),
      ...scalingFacts(benchCase, SHAPES),
    ];
    return [[shape, `${model}: ${details.join(', ')}`]];
  });
  return [...facts, ...optionFacts(options)];
}

function scalingFacts(benchCase: BenchCase, shapes: readonly ModelHeads[]): string[] {
  const unscaled = shapes.find(({ name }) => name === benchCase.shape);
  if (!benchCase.scaled || !unscaled || unscaled.nHeads <= benchCase.nHeads) return [];
  return [`scaled down from ${unscaled.nHeads}/${unscaled.nKvHeads}`];
}

/** One for all of them, which are of one model. */
function optionFacts([first]: readonly FeatureCase[]): [string, string][] {
  if (!first) return [];
  const details = [first.model, ...scalingFacts(first, FEATURE_SHAPES)];
  return [
    [
      'options of a call',
      `${details.join(', ')}; new tokens are the last ones of each sequence, in causal order`,
    ],
  ];
}

function maskFacts({ causal, window, softcap }: Extract<BenchCase, { kind: 'prefill' }>): string[] {
  return [
    causal ? 'causal' : 'not causal',
    ...(window > 0 ? [`window ${window}`] : []),
    ...(softcap > 0 ? [`softcap ${softcap}`] : []),
  ];
}
