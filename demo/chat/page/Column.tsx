import { useEffect, useRef } from 'preact/hooks';
import type { Chat, ChatState } from './chat.js';
import { Composer } from './Composer.js';
import {
  letterOf,
  N_COLORS,
  runningAnswer,
  titleOf,
  type Answer,
  type Conversation,
} from './conversations.js';
import { examplesFor, fourExamples } from './examples.js';
import { Icon } from './icons.js';
import { describeAnswer } from './words.js';

export interface ColumnProps {
  readonly chat: Chat;
  readonly state: ChatState;
  readonly conversation: Conversation;
}

/** Nearer to the end than this, the newest text stays in sight. */
const NEAR_PIXELS = 80;

/** A conversation. */
export function Column({ chat, state, conversation }: ColumnProps) {
  const { id, turns, number } = conversation;
  const log = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const running = runningAnswer(conversation);
  const last = turns.at(-1);
  useEffect(() => {
    const { current } = log;
    if (current && isAtEnd.current) current.scrollTop = current.scrollHeight;
  }, [turns]);
  const noteScroll = (): void => {
    const { scrollHeight, scrollTop, clientHeight } = log.current!;
    isAtEnd.current = scrollHeight - scrollTop - clientHeight < NEAR_PIXELS;
  };
  const name = `Conversation ${letterOf(conversation)}`;
  return (
    <article
      class="card column"
      data-id={id}
      aria-label={name}
      style={`--own: var(--own-${number % N_COLORS})`}
    >
      <div class="top">
        <span class="badge" aria-hidden="true">
          {letterOf(conversation)}
        </span>
        <h2 title={titleOf(conversation)}>{titleOf(conversation)}</h2>
        {turns.length > 0 && (
          <button
            type="button"
            class="quiet"
            aria-label={`Fork ${name}`}
            title="Fork"
            onClick={() => chat.fork(id)}
          >
            <Icon name="fork" />
          </button>
        )}
        <button
          type="button"
          class="quiet"
          aria-label={`Delete ${name}`}
          title="Delete"
          onClick={() => chat.delete(id)}
        >
          <Icon name="trash" />
        </button>
        <button
          type="button"
          class="quiet"
          aria-label={`Close ${name}`}
          title="Close"
          onClick={() => chat.hide(id)}
        >
          <Icon name="close" />
        </button>
      </div>
      {/* tabIndex: what scrolls must be reached by keyboard. */}
      <div class="log" role="log" aria-label={`${name}, turns`} tabIndex={0} ref={log} onScroll={noteScroll}>
        {turns.length === 0 && <Welcome chat={chat} state={state} id={id} />}
        {turns.map((turn) =>
          turn.role === 'user' ? (
            <div class="turn user" key={turn.id}>
              <span class="unseen">You: </span>
              {turn.content}
            </div>
          ) : (
            <AnswerTurn key={turn.id} answer={turn} isReady={state.status.kind === 'ready'}>
              {turn === last && !running && (
                <button type="button" class="small" onClick={() => chat.regenerate(id)}>
                  <Icon name="again" />
                  {turn.end === 'failed' ? 'Try again' : 'Another answer'}
                </button>
              )}
              {turn === last && (
                <button type="button" class="small" onClick={() => chat.fork(id)}>
                  <Icon name="fork" />
                  {running ? 'Another end' : 'Fork'}
                </button>
              )}
            </AnswerTurn>
          ),
        )}
      </div>
      <Composer
        name={name}
        isRunning={running !== undefined}
        isUsable={state.status.kind !== 'failed'}
        onAsk={(question) => chat.ask(id, question)}
        onStop={() => chat.cancel(id)}
      />
    </article>
  );
}

interface AnswerTurnProps {
  readonly answer: Answer;
  readonly isReady: boolean;
  readonly children: preact.ComponentChildren;
}

function AnswerTurn({ answer, isReady, children }: AnswerTurnProps) {
  const { content, end, problem } = answer;
  const isRunning = end === undefined;
  return (
    <div class="turn answer" aria-busy={isRunning}>
      <span class="unseen">Answer: </span>
      <p class="text">
        {content}
        {isRunning && content !== '' && <span class="caret" aria-hidden="true" />}
      </p>
      {isRunning && content === '' && (
        <p class="hint">
          {isReady ? 'Reading the prompt' : 'Waits for the model'}
          <span class="dots" aria-hidden="true" />
        </p>
      )}
      {problem !== undefined && <p class="error">{problem}</p>}
      <div class="made">
        {children}
        <span class="hint">{describeAnswer(answer)}</span>
      </div>
    </div>
  );
}

interface WelcomeProps {
  readonly chat: Chat;
  readonly state: ChatState;
  readonly id: string;
}

function Welcome({ chat, state, id }: WelcomeProps) {
  const { status, others } = state;
  const source = status.kind === 'ready' ? status.model.source : state.choice.source;
  const isUsable = status.kind !== 'failed';
  return (
    <div class="welcome">
      {source.kind === 'shipped' ? (
        <p>
          A tiny model, 1.8 MB, came with this page and runs on your GPU. It explains attention, caches and
          WebGPU in a sentence or two, counts, and tells little stories. It knows nothing else.
        </p>
      ) : status.kind === 'ready' && !status.model.hasChat ? (
        <p>This model has no chat template: it goes on with what you write.</p>
      ) : (
        <p>Runs on your GPU. Nothing that you write leaves this browser.</p>
      )}
      {others.length > 0 && (
        <p class="hint">
          {others.length === 1 ? 'A conversation' : `${others.length} conversations`} with other models{' '}
          {others.length === 1 ? 'is' : 'are'} kept, and shown with these.
        </p>
      )}
      <ul class="examples" aria-label="Questions to click">
        {examplesFor(source).map((question) => (
          <li key={question}>
            <button type="button" disabled={!isUsable} onClick={() => chat.ask(id, question)}>
              {question}
            </button>
          </li>
        ))}
      </ul>
      <button
        type="button"
        class="all"
        disabled={!isUsable}
        onClick={() => chat.askAll(fourExamples(source))}
      >
        Ask four of them at once
      </button>
    </div>
  );
}
