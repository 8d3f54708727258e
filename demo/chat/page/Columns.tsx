import { useEffect, useRef } from 'preact/hooks';
import type { Chat, ChatState } from './chat.js';
import { Column } from './Column.js';
import { letterOf, N_COLORS, runningAnswer, titleOf, type Conversation } from './conversations.js';
import { Icon } from './icons.js';

/** As in chat.css: there a conversation is as wide as the screen, beside the others. */
const ONE_COLUMN = matchMedia('(max-width: 640px)');

/** All conversations by name, and some of them side by side. */
export function Columns({ chat, state }: { readonly chat: Chat; readonly state: ChatState }) {
  const { conversations, shown } = state;
  const columns = useRef<HTMLDivElement>(null);
  const newest = shown.at(-1);
  const scrollTo = (id: string): void => {
    const { current } = columns;
    const column = current?.querySelector<HTMLElement>(`[data-id="${id}"]`);
    if (current && column) current.scrollTo({ left: column.offsetLeft });
  };
  useEffect(() => {
    // On a phone there is one column at a time: that which was opened last.
    if (newest !== undefined) scrollTo(newest);
  }, [newest]);
  const toggle = (id: string): void => {
    if (shown.includes(id) && ONE_COLUMN.matches) scrollTo(id);
    else if (shown.includes(id)) chat.hide(id);
    else chat.show(id);
  };
  const open = (): void => {
    const { id } = chat.open();
    setTimeout(() => columns.current?.querySelector<HTMLElement>(`[data-id="${id}"] textarea`)?.focus());
  };
  return (
    <section class="conversations" aria-label="Conversations">
      <div class="strip">
        <ul aria-label="All conversations">
          {conversations.map((conversation) => (
            <li key={conversation.id}>
              <button
                type="button"
                class="chip"
                aria-pressed={shown.includes(conversation.id)}
                aria-label={describeChip(conversation)}
                onClick={() => toggle(conversation.id)}
                style={`--own: var(--own-${conversation.number % N_COLORS})`}
                title={titleOf(conversation)}
              >
                <span class="badge">{letterOf(conversation)}</span>
                <span class="name">{titleOf(conversation)}</span>
                {runningAnswer(conversation) && <span class="dots" aria-hidden="true" />}
              </button>
            </li>
          ))}
        </ul>
        <button type="button" onClick={open} class="new">
          <Icon name="plus" />
          New
        </button>
        <a class="to-live" href="#live">
          Live figures
        </a>
      </div>
      <div class="columns" ref={columns}>
        {shown.length === 0 && (
          <p class="empty-note">No conversation is open. Choose one above, or begin a new one.</p>
        )}
        {conversations
          .filter(({ id }) => shown.includes(id))
          .map((conversation) => (
            <Column key={conversation.id} chat={chat} state={state} conversation={conversation} />
          ))}
      </div>
    </section>
  );
}

function describeChip(conversation: Conversation): string {
  const name = `${letterOf(conversation)}: ${titleOf(conversation)}`;
  return runningAnswer(conversation) ? `${name}, is answering` : name;
}
