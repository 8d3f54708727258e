import { adapterName } from '../adapterName.js';
import { formatBytes, formatRatio } from '../format.js';
import { isMeasured, wasSkipped, type BenchResults, type MeasuredRow } from '../results.js';
import { SHAPES, SOFTWARE_DIVISOR } from '../shapes.js';
import { geometricMean } from '../statistics.js';
import { headsOf } from '../table.js';
import { escape } from './escape.js';
import { memoryPlot, speedupPlot, timePlot } from './plots.js';
import { rowsTable } from './rowsTable.js';
import { STYLE } from './style.js';

/** The results as a page of HTML that needs nothing else. */
export function report(results: BenchResults): string {
  const { adapter, environment, date, rows, options } = results;
  const measured = rows.filter(isMeasured);
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
${failures(results)}
<div class="tiles">${tiles(measured)}</div>
${measured.length > 0 ? plots(measured) : ''}
<section>
<h2>All numbers</h2>
<p class="soft">Medians, with quartiles below. Operations and bytes are counted on paper: only pairs of query and key that
the mask lets through, and only bytes that have to be moved at least, which for naive attention includes its scores.
“Differs by” is the largest difference from naive attention and from the reference on the CPU, and what is allowed.</p>
<div class="scroll">${rowsTable(rows)}</div>
</section>
${about(results)}
</main>
</body>
</html>
`;
}

function failures({ rows }: BenchResults): string {
  const failed = rows.filter((row) => !isMeasured(row)).length;
  if (failed === 0) return '';
  return `<p class="failed">${failed} of ${rows.length} rows failed; the table says why.</p>`;
}

function tiles(rows: readonly MeasuredRow[]): string {
  const speedup = (causal: boolean): string => {
    const ratios = rows.flatMap(({ case: { causal: is }, speedup: found }) =>
      is === causal && found ? [found.median] : [],
    );
    if (ratios.length === 0) return '';
    const range = `${formatRatio(Math.min(...ratios))} to ${formatRatio(Math.max(...ratios))}`;
    const what = `${causal ? 'causal' : 'not causal'}: geometric mean of ${ratios.length} speed-ups, ${range}`;
    return tile(formatRatio(geometricMean(ratios)), what);
  };
  return [speedup(true), speedup(false), memoryTile(rows)].join('');
}

function memoryTile(rows: readonly MeasuredRow[]): string {
  const pairs = rows.flatMap(({ case: { shape, length }, pageflash, naive }) =>
    wasSkipped(naive)
      ? []
      : [{ name: `${shape}, S ${length}`, own: pageflash.memoryBytes, naive: naive.memoryBytes }],
  );
  const most = pairs.toSorted((a, b) => b.naive - a.naive)[0];
  if (!most) return '';
  return tile(
    `${formatBytes(most.own)}`,
    `extra memory where naive attention takes most, ${formatBytes(most.naive)} (${most.name})`,
  );
}

function tile(number: string, what: string): string {
  return `<div class="tile"><b>${escape(number)}</b><span>${escape(what)}</span></div>`;
}

const LEGEND =
  '<p class="legend"><span><i class="pageflash"></i>pageflash</span><span><i class="naive"></i>naive</span></p>';

function plots(rows: readonly MeasuredRow[]): string {
  return `<section>
<h2>Time</h2>
<p class="soft">A call of attention over one sequence of S tokens, until the queue is idle. Left is faster.</p>
${LEGEND}
<div class="scroll">${timePlot(rows)}</div>
</section>
<section>
<h2>Speed-up</h2>
<p class="soft">Bars are medians of the ratios of rounds, whiskers their quartiles. The dashed line is as fast as naive.</p>
<div class="scroll">${speedupPlot(rows)}</div>
</section>
<section>
<h2>Memory</h2>
<p class="soft">What each allocates besides its inputs and its output. Naive attention keeps the scores of all heads.</p>
${LEGEND}
<div class="scroll">${memoryPlot(rows)}</div>
</section>`;
}

function about({ adapter, environment, platform, commit, date, options, rows }: BenchResults): string {
  const facts: readonly (readonly [string, string])[] = [
    ['Adapter', adapterName(adapter)],
    ['Vendor, architecture', [adapter.vendor, adapter.architecture].filter(Boolean).join(', ') || 'not told'],
    ['Features', adapter.features.join(', ') || 'none'],
    ['Largest binding', formatBytes(adapter.maxBindingBytes)],
    ['Ran in', environment],
    ['Machine', platform],
    ['Commit', commit],
    ['Date', date],
    ['Options', optionsText(options)],
    ...shapeFacts(rows),
  ];
  const list = facts.map(([term, text]) => `<dt>${escape(term)}</dt><dd>${escape(text)}</dd>`).join('\n');
  const scaled = rows.some(({ case: { scaled: is } }) => is)
    ? `<p class="soft">The adapter is software, so the models are scaled down: kv heads and windows are divided by ${SOFTWARE_DIVISOR}, and each kv head keeps its number of query heads.</p>`
    : '';
  return `<section>
<h2>What was measured, and on what</h2>
${scaled}<p class="soft">Naive attention is three dispatches: scores, softmax, values. It skips the keys that the mask
hides and reads four numbers at a time, as a first version by someone who knows WebGPU would. Both are checked against each
other before they are timed, in turns.</p>
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
  return [...cases.values()].map((benchCase) => {
    const { shape, model, causal, window, softcap, scaled } = benchCase;
    const own = SHAPES.find(({ name }) => name === shape);
    const details = [
      `${headsOf(benchCase)} (query heads / kv heads × head size)`,
      causal ? 'causal' : 'not causal',
      ...(window > 0 ? [`window ${window}`] : []),
      ...(softcap > 0 ? [`softcap ${softcap}`] : []),
      ...(scaled && own ? [`scaled down from ${own.nHeads}/${own.nKvHeads}`] : []),
    ];
    return [shape, `${model}: ${details.join(', ')}`];
  });
}
