import { formatMs } from '../../../tools/format.js';
import { formatBytes } from '../../engine/engineError.js';
import type { EngineMode, ModeFigures } from '../protocol.js';
import type { LiveCardProps } from './LivePanel.js';
import { formatRate } from './words.js';

const WAYS = [
  { attention: 'paged', label: 'pageflash' },
  { attention: 'naive', label: 'naive' },
] as const satisfies readonly { attention: EngineMode['attention']; label: string }[];

interface Row {
  readonly name: string;
  readonly value: (figures: ModeFigures) => string;
}

/** Pageflash's attention, or naive attention in its place, and how both compare. */
export function AttentionCard({ chat, state }: LiveCardProps) {
  const { mode, live, status } = state;
  const isBusy = status.kind !== 'ready';
  const rows: readonly Row[] = [
    {
      name: 'Tokens a second, last use',
      value: ({ tokensPerSecond }) =>
        tokensPerSecond === undefined ? 'not used yet' : formatRate(tokensPerSecond),
    },
    {
      name: 'Attention in a step',
      value: ({ attentionMs }) => (attentionMs === undefined ? 'not timed yet' : formatMs(attentionMs)),
    },
    { name: 'Cache set aside', value: ({ cacheBytes }) => formatBytes(cacheBytes) },
    { name: 'of it held now', value: ({ usedBytes }) => formatBytes(usedBytes) },
    {
      name: 'Scores written out',
      value: ({ scoreBytes }) => (scoreBytes === 0 ? 'none' : formatBytes(scoreBytes)),
    },
  ];
  return (
    <section class="card" aria-labelledby="attention-title">
      <h2 id="attention-title">Attention by</h2>
      <div class="segments" role="radiogroup" aria-labelledby="attention-title">
        {WAYS.map(({ attention, label }) => (
          <label key={attention}>
            <input
              type="radio"
              name="attention"
              value={attention}
              checked={mode.attention === attention}
              disabled={isBusy}
              onChange={() => chat.setMode({ attention })}
            />
            <span>{label}</span>
          </label>
        ))}
      </div>
      <table>
        <thead>
          <tr>
            <td />
            {WAYS.map(({ attention, label }) => (
              <th key={attention} scope="col" class={mode.attention === attention ? 'used' : ''}>
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ name, value }) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              {WAYS.map(({ attention }) => (
                <td key={attention} class={mode.attention === attention ? 'used' : ''}>
                  {live ? value(live.figures[attention]) : '–'}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      <p class="hint">
        Answers on their way go on in the other one. Naive attention keeps rows of the longest length for{' '}
        {status.kind === 'ready' ? status.model.nSequences : 8} conversations, cannot share, and writes the
        scores of each query with each key to memory.
      </p>
    </section>
  );
}
