import { formatMs, formatPercent } from '../../../tools/format.js';
import type { LiveCardProps } from './LivePanel.js';

const N_SHOWN = 10;

/** GPU time of each kernel in the last moment. */
export function KernelsCard({ chat, state }: LiveCardProps) {
  const { live, mode, status } = state;
  const canTime = status.kind !== 'ready' || status.model.canTime;
  const kernels = live?.kernels;
  const total = kernels?.reduce((sum, { ms }) => sum + ms, 0) ?? 0;
  const most = kernels?.[0]?.ms ?? 0;
  return (
    <section class="card" aria-labelledby="kernels-title">
      <h2 id="kernels-title">Time of each kernel</h2>
      {canTime ? (
        <label class="switch">
          <input
            type="checkbox"
            role="switch"
            checked={mode.isTimed}
            disabled={status.kind !== 'ready'}
            onChange={(event) => chat.setMode({ isTimed: event.currentTarget.checked })}
          />
          Time them, which slows them a little
        </label>
      ) : (
        <p class="hint">This browser does not let pages time the GPU (it lacks timestamp-query).</p>
      )}
      {mode.isTimed && canTime && kernels === undefined && <p class="hint">Ask something to see them.</p>}
      {mode.isTimed && kernels !== undefined && (
        <ol class="kernels">
          {kernels.slice(0, N_SHOWN).map(({ name, nDispatches, ms }) => (
            <li key={name} title={`${nDispatches} dispatches`}>
              <span class="kernel">{name}</span>
              <span class="bar" style={`--share: ${ms / most}`} aria-hidden="true" />
              <span class="ms">
                {formatMs(ms)} <span class="share">{total > 0 ? formatPercent(ms / total) : ''}</span>
              </span>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
