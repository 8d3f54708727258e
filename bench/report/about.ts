import { adapterName } from '../adapterName.js';
import { headsOf, SHAPES, type BenchCase } from '../cases.js';
import { DECODE_SOFTWARE_DIVISOR, PAGE_SIZE } from '../decode/shapes.js';
import { formatBytes } from '../format.js';
import { PREFILL_SOFTWARE_DIVISOR } from '../prefill/shapes.js';
import type { BenchResults } from '../results.js';
import { escape } from './escape.js';

/** What was measured, and on what. */
export function about({ adapter, environment, platform, commit, date, options, rows }: BenchResults): string {
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
    ? `<p class="soft">The adapter is software, so the models are scaled down: kv heads and windows of prompts are divided by
${PREFILL_SOFTWARE_DIVISOR}, kv heads of decoding by ${DECODE_SOFTWARE_DIVISOR}, and each kv head keeps its number of query heads.</p>`
    : '';
  return `<section>
<h2>What was measured, and on what</h2>
${scaled}<p class="soft">Naive attention is three dispatches: scores, softmax, values. It skips the keys that the mask
hides and reads four numbers at a time, as a first version by someone who knows WebGPU would. For decoding, it gathers keys
and values out of their pages first. attn_prefill is pageflash's own kernel for prompts, made to decode through the page table.
All are checked against each other before they are timed, in turns. Pages are of ${PAGE_SIZE} tokens, in random order.</p>
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
    const { shape, model, scaled } = benchCase;
    const own = SHAPES.find(({ name }) => name === shape);
    const details = [
      `${headsOf(benchCase)} (query heads / kv heads × head size)`,
      ...(benchCase.kind === 'prefill' ? maskFacts(benchCase) : [`keys ${benchCase.keys.join(', ')}`]),
      ...(scaled && own && own.nHeads > benchCase.nHeads
        ? [`scaled down from ${own.nHeads}/${own.nKvHeads}`]
        : []),
    ];
    return [shape, `${model}: ${details.join(', ')}`];
  });
}

function maskFacts({ causal, window, softcap }: Extract<BenchCase, { kind: 'prefill' }>): string[] {
  return [
    causal ? 'causal' : 'not causal',
    ...(window > 0 ? [`window ${window}`] : []),
    ...(softcap > 0 ? [`softcap ${softcap}`] : []),
  ];
}
