import { useRef, useState } from 'preact/hooks';
import { Icon } from './icons.js';

export interface ComposerProps {
  /** Of the conversation. */
  readonly name: string;
  readonly isRunning: boolean;
  readonly isUsable: boolean;
  readonly onAsk: (question: string) => void;
  readonly onStop: () => void;
}

/** Where a question is written. */
export function Composer({ name, isRunning, isUsable, onAsk, onStop }: ComposerProps) {
  const [text, setText] = useState('');
  const field = useRef<HTMLTextAreaElement>(null);
  const ask = (): void => {
    if (text.trim() === '' || isRunning || !isUsable) return;
    onAsk(text);
    setText('');
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'Escape' && isRunning) onStop();
    // While an input method composes a word, Enter belongs to it.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    ask();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        ask();
        field.current?.focus();
      }}
    >
      <textarea
        ref={field}
        rows={1}
        value={text}
        aria-label={`Question in ${name}`}
        placeholder="Ask something"
        disabled={!isUsable}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      {isRunning ? (
        <button type="button" class="round" aria-label={`Stop ${name}`} title="Stop (Esc)" onClick={onStop}>
          <Icon name="stop" />
        </button>
      ) : (
        <button
          type="submit"
          class="round primary"
          aria-label={`Ask in ${name}`}
          title="Ask (Enter)"
          disabled={text.trim() === '' || !isUsable}
        >
          <Icon name="send" />
        </button>
      )}
    </form>
  );
}
