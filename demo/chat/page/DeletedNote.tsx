import { useEffect, useRef } from 'preact/hooks';
import type { Chat, ChatState } from './chat.js';
import { letterOf } from './conversations.js';
import { Icon } from './icons.js';

/** Brings back the conversation that was deleted last, for some seconds, and as long as the pointer is over it. */
export function DeletedNote({
  chat,
  state: { deleted },
}: {
  readonly chat: Chat;
  readonly state: ChatState;
}) {
  const undo = useRef<HTMLButtonElement>(null);
  const wasShown = useRef(false);
  useEffect(() => {
    const isFocusLost = document.activeElement === document.body;
    // The button that had the focus is gone: with the conversation, or with this note.
    if (deleted) undo.current?.focus({ preventScroll: true });
    else if (wasShown.current && isFocusLost)
      document.querySelector<HTMLElement>('.column:last-child .log')?.focus({ preventScroll: true });
    wasShown.current = deleted !== undefined;
  }, [deleted]);
  return (
    <div class="note-place" role="status">
      {deleted && (
        <div
          class="note"
          onPointerEnter={() => chat.holdDeleted()}
          onPointerLeave={() => chat.forgetDeletedLater()}
          onKeyDown={({ key }) => key === 'Escape' && chat.forgetDeleted()}
        >
          <span>Conversation {letterOf(deleted)} was deleted.</span>
          <button type="button" class="small" ref={undo} onClick={() => chat.undoDelete()}>
            <Icon name="undo" />
            Undo
          </button>
          <button
            type="button"
            class="quiet"
            aria-label="Delete it for good"
            title="Delete it for good"
            onClick={() => chat.forgetDeleted()}
          >
            <Icon name="close" />
          </button>
        </div>
      )}
    </div>
  );
}
