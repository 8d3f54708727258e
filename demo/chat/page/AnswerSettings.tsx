import type { LiveCardProps } from './LivePanel.js';

/** How tokens of new answers are chosen, and how many. */
export function AnswerSettings({ chat, state: { settings } }: LiveCardProps) {
  const { temperature, maxNewTokens } = settings;
  return (
    <section class="card" aria-labelledby="settings-title">
      <h2 id="settings-title">New answers</h2>
      <label class="field">
        <span>Temperature: {temperature === 0 ? '0, the most likely tokens' : temperature}</span>
        <input
          type="range"
          min="0"
          max="1.5"
          step="0.1"
          value={temperature}
          onInput={(event) => chat.setSettings({ temperature: event.currentTarget.valueAsNumber })}
        />
      </label>
      <label class="field">
        <span>The most tokens of an answer</span>
        <input
          type="number"
          min="1"
          max="4096"
          value={maxNewTokens}
          onChange={(event) => {
            const { valueAsNumber: n } = event.currentTarget;
            if (Number.isInteger(n) && n >= 1) chat.setSettings({ maxNewTokens: n });
            else event.currentTarget.value = String(maxNewTokens);
          }}
        />
      </label>
    </section>
  );
}
