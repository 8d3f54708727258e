import { formatBytes } from '../../engine/engineError.js';
import { formatSeconds } from '../formatCount.js';
import type { Status } from '../protocol.js';
import type { Chat, ChatState } from './chat.js';

export interface StatusBarProps {
  readonly chat: Chat;
  readonly state: ChatState;
  readonly onChoose: () => void;
}

/** What is being done before the model can answer, or why it cannot. */
export function StatusBar({ chat, state, onChoose }: StatusBarProps) {
  const { status, loss, isSaved } = state;
  return (
    <div class="status">
      {status.kind === 'loading' && <Loading chat={chat} {...status} />}
      {status.kind === 'starting' && <p role="status">Asking the browser for the GPU…</p>}
      {status.kind === 'compiling' && <p role="status">Compiling {status.name} for this GPU…</p>}
      {loss !== undefined && (
        <p role="status" class="warning">
          The GPU was lost ({loss.replace(/\.$/, '')}). Asking for it again; the conversations go on from
          their text.
        </p>
      )}
      {status.kind === 'ready' && status.model.notKept !== undefined && (
        <p role="status" class="warning">
          {status.model.notKept}
        </p>
      )}
      {!isSaved && (
        <p role="status" class="warning">
          This browser has no room for the conversations: a reload loses them.
        </p>
      )}
      {status.kind === 'failed' && (
        <section class="card advice" role="alert" aria-labelledby="advice-title">
          <h2 id="advice-title">{status.advice.title}</h2>
          <p>{status.advice.text}</p>
          {status.advice.steps.length > 0 && (
            <ul>
              {status.advice.steps.map((step) => (
                <li key={step}>{step}</li>
              ))}
            </ul>
          )}
          <div class="buttons">
            <button type="button" class="primary" onClick={() => chat.loadAgain()}>
              Try again
            </button>
            <button type="button" onClick={onChoose}>
              Choose a model
            </button>
          </div>
        </section>
      )}
    </div>
  );
}

type LoadingProps = Extract<Status, { kind: 'loading' }> & { readonly chat: Chat };

function Loading({ chat, name, bytes, totalBytes, secondsLeft }: LoadingProps) {
  const left = secondsLeft === undefined ? '' : `, ${formatSeconds(secondsLeft)} left`;
  const text =
    totalBytes === 0
      ? `Opening ${name}…`
      : `Loading ${name}: ${formatBytes(bytes)} of ${formatBytes(totalBytes)}${left}`;
  return (
    <div class="loading">
      <p id="loading-text">{text}</p>
      <progress
        aria-labelledby="loading-text"
        max={1}
        {...(totalBytes === 0 ? {} : { value: bytes / totalBytes })}
      />
      <button type="button" onClick={() => chat.stopLoading()}>
        Stop
      </button>
    </div>
  );
}
