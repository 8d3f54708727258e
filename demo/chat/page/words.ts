import { formatCount } from '../formatCount.js';
import type { ModelFacts, Status } from '../protocol.js';
import type { Answer } from './conversations.js';

// What the page says, where it takes more than a word.

const FORMATS = { f32: 'f32', f16: 'f16', bf16: 'bf16', i8: '8 bits', i4: '4 bits' } as const;

/** The model in a few words. */
export function describeModel(status: Status): string {
  if (status.kind === 'ready') return shortName(status.model);
  if (status.kind === 'failed') return 'No model';
  return 'Loading…';
}

function shortName({ name, source, nParameters, weights }: ModelFacts): string {
  const model = source.kind === 'shipped' ? 'Tiny model' : (name.split('/').at(-1) ?? name);
  return `${model} · ${formatCount(nParameters)} · ${FORMATS[weights]}`;
}

/** How an answer was made, and how it ended. */
export function describeAnswer({ end, figures, temperature, seed }: Answer): string {
  if (!figures) return '';
  const { nTokens, seconds } = figures;
  const rate = seconds > 0 && nTokens > 0 ? `, ${formatRate(nTokens / seconds)} a second` : '';
  const tokens = nTokens === 1 ? '1 token' : `${nTokens} tokens`;
  const how = temperature === 0 ? 'most likely tokens' : `temperature ${temperature}, seed ${seed}`;
  const ending = end === 'cancelled' ? ' · stopped' : end === 'length' ? ' · cut off: no room for more' : '';
  return `${tokens}${rate} · ${how}${ending}`;
}

/** `7.3`, `128` */
export function formatRate(rate: number): string {
  return rate < 10 ? rate.toFixed(1) : formatCount(rate);
}
