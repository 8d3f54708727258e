import type { EndReason } from '../../engine/serving/generation.js';
import type { ChatMessage } from '../../engine/text/textCodec.js';
import type { ModelSource } from '../protocol.js';

/** How an answer was made. */
export interface AnswerFigures {
  readonly nTokens: number;
  readonly nPromptTokens: number;
  readonly seconds: number;
}

export interface Question {
  readonly role: 'user';
  readonly id: string;
  readonly content: string;
}

export interface Answer {
  readonly role: 'assistant';
  readonly id: string;
  readonly content: string;
  readonly temperature: number;
  readonly seed: number;
  readonly nTokens: number;
  /** undefined while it is on its way. */
  readonly end: EndReason | 'failed' | undefined;
  /** Why it failed. */
  readonly problem?: string;
  readonly figures?: AnswerFigures;
}

export type Turn = Question | Answer;

export interface Conversation {
  readonly id: string;
  /** Its number, which gives its letter and its colour. */
  readonly number: number;
  readonly turns: readonly Turn[];
  /** Whose model's it is, as `modelKey` names it: another one is not told what this one has said. */
  readonly model: string;
}

export const N_COLORS = 8;

/** A name for where a model comes from. */
export function modelKey(source: ModelSource): string {
  return source.kind === 'shipped'
    ? source.kind
    : `${source.kind}:${source.kind === 'hub' ? source.id : source.name}`;
}

/** Begins one beside others, all of the same model. */
export function newConversation(model: string, others: readonly Conversation[]): Conversation {
  // The lowest that is free, so that colours of few conversations differ.
  const taken = new Set(others.map(({ number }) => number));
  let number = 0;
  while (taken.has(number)) number++;
  return { id: newId(), number, turns: [], model };
}

export function newId(): string {
  return crypto.randomUUID();
}

/** `A`, `B`, … `Z`, `A1`, … */
export function letterOf({ number }: Conversation): string {
  const round = Math.floor(number / 26);
  return String.fromCharCode(65 + (number % 26)) + (round === 0 ? '' : String(round));
}

export function titleOf({ turns }: Conversation): string {
  const first = turns.find(({ role }) => role === 'user')?.content.trim() ?? '';
  return first === '' ? 'New conversation' : first;
}

export function runningAnswer({ turns }: Conversation): Answer | undefined {
  const last = turns.at(-1);
  return last?.role === 'assistant' && last.end === undefined ? last : undefined;
}

/** The turns that a model is told, up to and without the answer that is to come. A failed one never was. */
export function messagesOf(turns: readonly Turn[]): readonly ChatMessage[] {
  return turns
    .filter((turn) => turn.role === 'user' || (turn.content !== '' && turn.end !== 'failed'))
    .map(({ role, content }) => ({ role, content }));
}

/** Replaces an answer, wherever it is. */
export function changeAnswer(
  conversations: readonly Conversation[],
  id: string,
  change: (answer: Answer) => Answer,
): readonly Conversation[] {
  return conversations.map((conversation) => {
    if (!conversation.turns.some((turn) => turn.id === id)) return conversation;
    const turns = conversation.turns.map((turn) =>
      turn.id === id && turn.role === 'assistant' ? change(turn) : turn,
    );
    return { ...conversation, turns };
  });
}
