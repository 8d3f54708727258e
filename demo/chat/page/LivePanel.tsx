import type { Chat, ChatState } from './chat.js';
import { AnswerSettings } from './AnswerSettings.js';
import { AttentionCard } from './AttentionCard.js';
import { KernelsCard } from './KernelsCard.js';
import { PagesCard } from './PagesCard.js';
import { PatternCard } from './PatternCard.js';
import { SpeedCard } from './SpeedCard.js';

export interface LiveCardProps {
  readonly chat: Chat;
  readonly state: ChatState;
}

/** What the engine does, live: a card for each subject. */
export function LivePanel({ chat, state }: LiveCardProps) {
  return (
    <aside id="live" aria-label="Live figures">
      <SpeedCard state={state} />
      <PagesCard chat={chat} state={state} />
      <AttentionCard chat={chat} state={state} />
      <PatternCard chat={chat} state={state} />
      <KernelsCard chat={chat} state={state} />
      <AnswerSettings chat={chat} state={state} />
    </aside>
  );
}
