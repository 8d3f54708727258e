import type { ChatState } from './chat.js';
import { formatRate } from './words.js';

const WIDTH = 120;
const HEIGHT = 36;

/** Tokens a second, of all answers together. */
export function SpeedCard({ state: { live, history, status } }: { readonly state: ChatState }) {
  const model = status.kind === 'ready' ? status.model : undefined;
  const n = live?.nRunning ?? 0;
  const doing =
    n === 0
      ? 'Nothing is being answered.'
      : `${n === 1 ? 'One answer is' : `${n} answers are`} computed ${n === 1 ? '' : 'in one batch '}now.`;
  const prompts =
    live && live.prefilledPerSecond > 0 ? ` Prompts: ${formatRate(live.prefilledPerSecond)} a second.` : '';
  return (
    <section class="card speed" aria-labelledby="speed-title">
      <div class="row">
        <div>
          <h2 id="speed-title">Tokens a second</h2>
          <p class="figure">{n > 0 && live ? formatRate(live.sampledPerSecond) : '–'}</p>
        </div>
        <Sparkline values={history} />
      </div>
      <p class="hint">
        {doing}
        {prompts}
      </p>
      {model && (
        <p class="hint">
          {model.gpu}
          {model.isSoftware && ': no GPU, but a program that plays one, so it is slow'}
        </p>
      )}
    </section>
  );
}

function Sparkline({ values }: { readonly values: readonly number[] }) {
  const most = Math.max(...values, 1);
  const points = values.map((value, i) => {
    const x = ((i + 60 - values.length) / 59) * WIDTH;
    return `${x.toFixed(1)},${(HEIGHT - 2 - (value / most) * (HEIGHT - 4)).toFixed(1)}`;
  });
  return (
    <svg class="sparkline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true">
      <polyline points={points.join(' ')} />
    </svg>
  );
}
