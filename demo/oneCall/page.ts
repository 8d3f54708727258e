import { formatBytes, formatMs, formatRatio } from '../../tools/format.js';
import type { Verdict } from './check.js';
import type { Advice } from '../advice.js';
import type { Gpu } from './gpu.js';
import { naiveScoresBytes } from './implementations.js';
import type { Measured, RunResult } from './run.js';

// What the page shows besides its form and its pictures.

/** The element with this id, which must be in index.html. */
export function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** Set the text of an element. */
export function setText(id: string, text: string): void {
  element(id).textContent = text;
}

/** Show an element with this text, or hide it if the text is undefined. */
export function setNote(id: string, text: string | undefined): void {
  element(id).hidden = text === undefined;
  setText(id, text ?? '');
}

/** Show the name and the facts of the GPU. */
export function showAdapter({ name, facts }: Gpu): void {
  setText('adapter-name', name);
  element('adapter-facts').replaceChildren(
    ...facts.map(([label, value]) => {
      const row = document.createElement('div');
      const term = document.createElement('dt');
      const description = document.createElement('dd');
      term.textContent = label;
      description.textContent = value;
      row.append(term, description);
      return row;
    }),
  );
}

/** Show what to do about a missing GPU, in place of the workspace. */
export function showAdvice({ title, text, steps }: Advice): void {
  setText('notice-title', title);
  setText('notice-text', text);
  element('notice-steps').replaceChildren(
    ...steps.map((step) => {
      const item = document.createElement('li');
      item.textContent = step;
      return item;
    }),
  );
  element('notice').hidden = false;
}

/** Show the verdict, times and memory of a run. */
export function showResult({ settings, verdict, pageflash, naive, naiveNote }: RunResult): void {
  element('results').hidden = false;
  delete element('results').dataset.stale;
  showVerdict(verdict);
  showTimes(pageflash, naive);
  showMemory(pageflash.memoryBytes, naive?.memoryBytes ?? naiveScoresBytes(settings));
  setNote('naive-note', naiveNote);
}

/** Grey out the last result, since the next run may have other settings. */
export function outdateResult(): void {
  element('results').dataset.stale = '';
}

function showVerdict(verdict: Verdict): void {
  const { correct, nChecked, nRows, maxError, allowedError, maxLseError, allowedLseError } = verdict;
  element('verdict').dataset.state = correct ? 'correct' : 'wrong';
  setText('verdict-title', correct ? 'Correct: the GPU agrees with the reference' : 'Wrong: the GPU differs');
  const rows = `${nChecked.toLocaleString()} of ${nRows.toLocaleString()} rows`;
  setText('verdict-text', `${rows} compared with attention in f64 on the CPU.`);
  setText('out-error', againstBound(maxError, allowedError));
  setText('lse-error', againstBound(maxLseError, allowedLseError));
}

function againstBound(error: number, allowed: number): string {
  return `${scientific(error)} (allowed ${scientific(allowed)})`;
}

function showTimes(pageflash: Measured, naive: Measured | undefined): void {
  const ms = pageflash.timing.medianMs;
  const naiveMs = naive?.timing.medianMs;
  setBars('time', ms, naiveMs, formatMs);
  setText(
    'time-ratio',
    naiveMs === undefined ? formatMs(ms) : comparison(naiveMs / ms, 'as fast as naive', 'as slow as naive'),
  );
  setText(
    'time-text',
    `Median of ${pageflash.timing.samples.length} rounds, from submission until the queue is empty.`,
  );
}

function showMemory(bytes: number, naiveBytes: number): void {
  setBars('memory', bytes, naiveBytes, formatBytes);
  setText('memory-ratio', comparison(naiveBytes / bytes, 'less than naive', 'more than naive'));
}

/** A ratio in words: 3 is "3× better", a third is "3× worse". */
function comparison(ratio: number, better: string, worse: string): string {
  return ratio >= 1 ? `${formatRatio(ratio)} ${better}` : `${formatRatio(1 / ratio)} ${worse}`;
}

function setBars(
  what: 'time' | 'memory',
  pageflash: number,
  naive: number | undefined,
  format: (value: number) => string,
): void {
  const most = Math.max(pageflash, naive ?? 0);
  const set = (name: string, value: number | undefined) => {
    setText(`${what}-${name}`, value === undefined ? '–' : format(value));
    element(`${what}-${name}-bar`).hidden = value === undefined;
    element(`${what}-${name}-bar`).style.width = `${(100 * (value ?? 0)) / most}%`;
  };
  set('pageflash', pageflash);
  set('naive', naive);
}

/** Two significant digits with an exponent: 0.00000123 is "1.2e-6". */
function scientific(x: number): string {
  return x === 0 ? '0' : Number.isFinite(x) ? x.toExponential(1) : String(x);
}
