import { formatBytes, formatMs, formatRatio } from '../tools/format.js';
import type { Verdict } from './check.js';
import type { Gpu } from './gpu.js';
import { naiveScoresBytes } from './naive.js';
import { element, setNote, setText } from './page.js';
import type { Measured, RunResult } from './run.js';

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

export function showResult({ settings, verdict, pageflash, naive, naiveNote }: RunResult): void {
  element('results').hidden = false;
  delete element('results').dataset.stale;
  showVerdict(verdict);
  showTimes(pageflash, naive);
  showMemory(pageflash.memoryBytes, naive?.memoryBytes ?? naiveScoresBytes(settings));
  setNote('naive-note', naiveNote);
}

/** Greys out what is shown, since it belongs to other settings. */
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
  setText('time-text', `Median of ${pageflash.timing.samples.length} rounds, from submitting until done.`);
}

function showMemory(bytes: number, naiveBytes: number): void {
  setBars('memory', bytes, naiveBytes, formatBytes);
  setText('memory-ratio', comparison(naiveBytes / bytes, 'less than naive', 'more than naive'));
}

/** 3 is "3× better", a third "3× worse". */
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
  const set = (who: string, value: number | undefined) => {
    setText(`${what}-${who}`, value === undefined ? '–' : format(value));
    element(`${what}-${who}-bar`).hidden = value === undefined;
    element(`${what}-${who}-bar`).style.width = `${(100 * (value ?? 0)) / most}%`;
  };
  set('pageflash', pageflash);
  set('naive', naive);
}

/** 0.000001234 is "1.2e-6". */
function scientific(x: number): string {
  return x === 0 ? '0' : Number.isFinite(x) ? x.toExponential(1) : String(x);
}
