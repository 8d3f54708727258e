import { useRef } from 'preact/hooks';
import type { Chat } from './chat.js';
import { Columns } from './Columns.js';
import { DeletedNote } from './DeletedNote.js';
import { Icon } from './icons.js';
import { LivePanel } from './LivePanel.js';
import { ModelDialog } from './ModelDialog.js';
import { StatusBar } from './StatusBar.js';
import { useStore } from './store.js';
import { describeModel } from './words.js';

/** The page. */
export function App({ chat }: { readonly chat: Chat }) {
  const state = useStore(chat.store);
  const dialog = useRef<HTMLDialogElement>(null);
  const openModels = (): void => {
    chat.listKept();
    dialog.current?.showModal();
  };
  return (
    <>
      <header>
        <svg class="logo" viewBox="0 0 16 16" aria-hidden="true">
          <path d="M1 1h4v4H1zM1 6h4v4H1zM6 6h4v4H6zM1 11h4v4H1zM6 11h4v4H6zM11 11h4v4h-4z" />
        </svg>
        <h1>pageflash</h1>
        <nav class="tabs" aria-label="Pages">
          <a href="./" aria-current="page">
            Chat
          </a>
          <a href="oneCall/">One call</a>
        </nav>
        <button type="button" class="model" onClick={openModels} aria-haspopup="dialog">
          <Icon name="model" />
          <span>{describeModel(state.status)}</span>
          <Icon name="down" />
        </button>
      </header>
      <StatusBar chat={chat} state={state} onChoose={openModels} />
      <main>
        <Columns chat={chat} state={state} />
        <LivePanel chat={chat} state={state} />
      </main>
      <DeletedNote chat={chat} state={state} />
      <ModelDialog chat={chat} state={state} dialog={dialog} />
      <p class="unseen" role="status">
        {state.announcement}
      </p>
    </>
  );
}
