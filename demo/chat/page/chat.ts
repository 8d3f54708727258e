import type {
  EngineMode,
  FitReport,
  KeptModel,
  Live,
  ModelChoice,
  PatternChoice,
  Reply,
  Request,
  Status,
} from '../protocol.js';
import {
  changeAnswer,
  letterOf,
  messagesOf,
  modelKey,
  newConversation,
  newId,
  runningAnswer,
  type Answer,
  type Conversation,
  type Turn,
} from './conversations.js';
import { readSaved, writeSaved, type Settings } from './saved.js';
import { Store } from './store.js';

/** Conversations side by side. */
export const MAX_SHOWN = 4;
/** The temperature of another answer, where the first one was the most likely one. */
const OTHER_TEMPERATURE = 0.7;
const SAVE_MS = 400;
/** How long a conversation can be brought back. */
const UNDO_MS = 20_000;

export interface ChatState {
  readonly status: Status;
  /** Why the GPU was lost, until the model is ready on another one. */
  readonly loss: string | undefined;
  /** Of the chosen model. */
  readonly conversations: readonly Conversation[];
  /** Of other models, which are shown again with these. */
  readonly others: readonly Conversation[];
  /** What was deleted last, as long as that can be undone. */
  readonly deleted: Conversation | undefined;
  readonly shown: readonly string[];
  readonly choice: ModelChoice;
  readonly mode: EngineMode;
  readonly settings: Settings;
  readonly live: Live | undefined;
  /** Tokens a second of the last moments. */
  readonly history: readonly number[];
  readonly fit: { readonly choice: ModelChoice; readonly report: FitReport } | undefined;
  readonly kept: readonly KeptModel[];
  readonly freeBytes: number | undefined;
  readonly pageText: { readonly page: number; readonly text: string } | undefined;
  /** What was looked at last. */
  readonly pattern: Extract<Reply, { readonly type: 'pattern' }> | undefined;
  /** For screen readers. */
  readonly announcement: string;
  readonly isSaved: boolean;
}

const N_HISTORY = 60;

const DEFAULT_CHOICE: ModelChoice = { source: { kind: 'shipped' }, weights: undefined, budgetBytes: 4e9 };

/** All that a visitor does, and what comes of it. */
export class Chat {
  readonly store: Store<ChatState>;
  readonly #send: (request: Request) => void;
  #saving: ReturnType<typeof setTimeout> | undefined;
  #forgetting: ReturnType<typeof setTimeout> | undefined;

  constructor(send: (request: Request) => void) {
    const saved = readSaved();
    const choice = saved?.choice ?? DEFAULT_CHOICE;
    const { own, others } = apart(saved?.conversations ?? [], choice);
    const first = newConversation(modelKey(choice.source), []);
    this.#send = send;
    this.store = new Store<ChatState>({
      status: { kind: 'starting' },
      loss: undefined,
      conversations: own.length > 0 ? own : [first],
      others,
      deleted: undefined,
      shown: own.length > 0 ? saved!.shown : [first.id],
      choice,
      mode: { attention: 'paged', isTimed: false },
      settings: saved?.settings ?? { temperature: 0, maxNewTokens: 256 },
      live: undefined,
      history: [],
      fit: undefined,
      kept: [],
      freeBytes: undefined,
      pageText: undefined,
      pattern: undefined,
      announcement: '',
      isSaved: true,
    });
  }

  get #state(): ChatState {
    return this.store.state;
  }

  /** Loads the model of the last time, and goes on with what it was interrupted in. */
  begin(): void {
    const { choice, mode, conversations, others } = this.#state;
    const all = [...conversations, ...others];
    this.#send({ type: 'keepOnly', conversations: all.map(({ id }) => id) });
    this.#send({ type: 'load', choice, mode });
    for (const conversation of conversations) {
      const answer = runningAnswer(conversation);
      if (!answer) continue;
      this.#changeAnswer(answer.id, (old) => ({ ...old, content: '', nTokens: 0 }));
      this.#request(conversation, answer);
    }
  }

  /** Loads a model, and shows its conversations. */
  load(choice: ModelChoice): void {
    if (modelKey(choice.source) !== modelKey(this.#state.choice.source)) this.#changeModel(choice);
    this.store.change({ choice, live: undefined, history: [], pageText: undefined, pattern: undefined });
    this.#send({ type: 'load', choice, mode: this.#state.mode });
    this.#save();
  }

  loadAgain(): void {
    this.load(this.#state.choice);
  }

  stopLoading(): void {
    this.#send({ type: 'stopLoading' });
  }

  measure(choice: ModelChoice): void {
    this.store.change({ fit: undefined });
    this.#send({ type: 'measure', choice });
  }

  listKept(): void {
    this.#send({ type: 'listKept' });
  }

  forgetKept(name: string): void {
    this.#send({ type: 'forgetKept', name });
  }

  setMode(part: Partial<EngineMode>): void {
    const mode = { ...this.#state.mode, ...part };
    this.store.change({ mode });
    this.#send({ type: 'setMode', mode });
  }

  setSettings(part: Partial<Settings>): void {
    this.store.change({ settings: { ...this.#state.settings, ...part } });
    this.#save();
  }

  readPage(page: number): void {
    this.#send({ type: 'readPage', page });
  }

  readPattern(choice: PatternChoice): void {
    const conversation = this.#find(choice.conversation);
    if (conversation) this.#send({ type: 'readPattern', choice, messages: messagesOf(conversation.turns) });
  }

  /** Begins a conversation beside the others. */
  open(): Conversation {
    const conversation = newConversation(modelKey(this.#state.choice.source), this.#state.conversations);
    this.#setConversations([...this.#state.conversations, conversation]);
    this.show(conversation.id);
    return conversation;
  }

  /** Puts a conversation on the screen. Where there is no room, the one that was opened first gives way. */
  show(id: string, beside?: string): void {
    const { shown } = this.#state;
    if (shown.includes(id)) return;
    const givesWay = shown.length < MAX_SHOWN ? undefined : shown.find((one) => one !== beside);
    this.store.change({ shown: [...shown.filter((one) => one !== givesWay), id] });
    this.#save();
  }

  hide(id: string): void {
    this.store.change({ shown: this.#state.shown.filter((one) => one !== id) });
    this.#save();
  }

  /** Takes a conversation away. Until another one is, or some seconds have passed, `undoDelete` brings it back. */
  delete(id: string): void {
    const deleted = this.#find(id);
    if (!deleted) return;
    this.cancel(id);
    this.forgetDeleted();
    this.#setConversations(this.#state.conversations.filter((conversation) => conversation.id !== id));
    this.hide(id);
    this.#showOne();
    if (deleted.turns.length === 0) return this.#send({ type: 'drop', conversation: id });
    this.store.change({ deleted });
    this.forgetDeletedLater();
  }

  undoDelete(): void {
    const { deleted, conversations } = this.#state;
    if (!deleted) return;
    this.holdDeleted();
    this.store.change({ deleted: undefined });
    // What was answered when it was deleted was stopped then. Its letter may be taken.
    const { number } = conversations.some((one) => one.number === deleted.number)
      ? newConversation(deleted.model, conversations)
      : deleted;
    const back = { ...stopped(deleted), number };
    this.#setConversations([...conversations, back].toSorted((one, other) => one.number - other.number));
    this.show(back.id);
    this.store.change({ announcement: `Conversation ${letterOf(back)} is back.` });
  }

  /** A deleted conversation is gone. */
  forgetDeleted(): void {
    const { deleted } = this.#state;
    this.holdDeleted();
    if (!deleted) return;
    this.store.change({ deleted: undefined });
    this.#send({ type: 'drop', conversation: deleted.id });
  }

  /** While somebody is about to undo it, it stays. */
  holdDeleted(): void {
    clearTimeout(this.#forgetting);
  }

  forgetDeletedLater(): void {
    this.holdDeleted();
    this.#forgetting = setTimeout(() => this.forgetDeleted(), UNDO_MS);
  }

  /** One conversation at least is on the screen. */
  #showOne(): void {
    const { conversations, shown } = this.#state;
    if (shown.length > 0) return;
    const last = conversations.at(-1);
    if (last) this.show(last.id);
    else this.open();
  }

  /** Puts the conversations of another model in the place of these. */
  #changeModel(choice: ModelChoice): void {
    this.forgetDeleted();
    const { conversations, others, shown } = this.#state;
    // The worker stops what is on its way.
    const all = [...conversations.filter(({ turns }) => turns.length > 0).map(stopped), ...others];
    const now = apart(all, choice);
    const ids = new Set(now.own.map(({ id }) => id));
    this.store.change({
      choice,
      conversations: now.own,
      others: now.others,
      shown: shown.filter((id) => ids.has(id)),
    });
    this.#showOne();
  }

  ask(id: string, question: string): void {
    const conversation = this.#find(id);
    if (!conversation || runningAnswer(conversation) || question.trim() === '') return;
    const { temperature } = this.#state.settings;
    const asked: Turn = { role: 'user', id: newId(), content: question.trim() };
    this.#answer({ ...conversation, turns: [...conversation.turns, asked] }, { temperature, seed: 0 });
  }

  /** Asks each of some questions in a conversation of its own, at once. */
  askAll(questions: readonly string[]): void {
    for (const question of questions) {
      const empty = this.#state.conversations.find(
        ({ id, turns }) => turns.length === 0 && this.#state.shown.includes(id),
      );
      this.ask((empty ?? this.open()).id, question);
    }
  }

  /** Answers the last question anew, by chance where the first answer was the most likely one. */
  regenerate(id: string): void {
    const conversation = this.#find(id);
    const last = conversation?.turns.at(-1);
    if (!conversation || last?.role !== 'assistant' || last.end === undefined) return;
    const temperature = last.end === 'failed' ? last.temperature : last.temperature || OTHER_TEMPERATURE;
    const turns = conversation.turns.slice(0, -1);
    this.#answer({ ...conversation, turns }, { temperature, seed: last.seed + 1 });
  }

  /** A copy that goes on from here; of an answer on its way, a second end by chance. */
  fork(id: string): void {
    const source = this.#find(id);
    if (!source) return;
    const running = runningAnswer(source);
    const copy = newConversation(source.model, this.#state.conversations);
    if (!running) {
      const turns = source.turns.map((turn) => ({ ...turn, id: newId() }));
      this.#setConversations([...this.#state.conversations, { ...copy, turns }]);
      return this.show(copy.id, id);
    }
    const temperature = running.temperature || OTHER_TEMPERATURE;
    const answer = newAnswer({ temperature, seed: running.seed + 1 });
    const before = source.turns.slice(0, -1).map((turn) => ({ ...turn, id: newId() }));
    const forked = { ...copy, turns: [...before, answer] };
    this.#setConversations([...this.#state.conversations, forked]);
    this.show(copy.id, id);
    this.#send({ type: 'fork', from: running.id, options: this.#optionsOf(forked, answer) });
  }

  cancel(id: string): void {
    const conversation = this.#find(id);
    const answer = conversation && runningAnswer(conversation);
    if (answer) this.#send({ type: 'cancel', answer: answer.id });
  }

  receive(reply: Reply): void {
    switch (reply.type) {
      case 'status':
        return this.#receiveStatus(reply.status);
      case 'fit':
        return this.store.change({ fit: reply });
      case 'kept':
        return this.store.change({ kept: reply.models, freeBytes: reply.freeBytes });
      case 'pageText':
        return this.store.change({ pageText: reply });
      case 'pattern':
        return this.store.change({ pattern: reply });
      case 'live': {
        const history = [...this.#state.history, reply.live.sampledPerSecond].slice(-N_HISTORY);
        return this.store.change({ live: reply.live, history });
      }
      case 'text': {
        const { text, nTokens } = reply;
        return this.#changeAnswer(reply.answer, (answer) => ({
          ...answer,
          content: answer.content + text,
          nTokens,
        }));
      }
      case 'end': {
        const { end, nTokens, nPromptTokens, seconds } = reply;
        const figures = { nTokens, nPromptTokens, seconds };
        this.#changeAnswer(reply.answer, (answer) => ({ ...answer, end, nTokens, figures }));
        return this.#announce(reply.answer, end === 'cancelled' ? 'was stopped' : 'is complete');
      }
      case 'refused': {
        const { message } = reply;
        this.#changeAnswer(reply.answer, (answer) => ({ ...answer, end: 'failed', problem: message }));
        return this.#announce(reply.answer, `failed: ${message}`);
      }
    }
  }

  /** The worker itself has failed. */
  crash(message: string): void {
    const title = 'The page has failed';
    const steps = ['Load the page again. The conversations are kept.'];
    this.store.change({ status: { kind: 'failed', advice: { title, text: message, steps } } });
  }

  #receiveStatus(status: Status): void {
    this.store.change({ status });
    if (status.kind === 'recovering') this.store.change({ loss: status.reason, live: undefined });
    if (status.kind === 'ready') this.store.change({ mode: status.mode });
    if (status.kind === 'ready' || status.kind === 'failed') this.store.change({ loss: undefined });
    if (status.kind === 'failed') this.store.change({ live: undefined, announcement: status.advice.title });
  }

  #answer(conversation: Conversation, how: Pick<Answer, 'temperature' | 'seed'>): void {
    const answer = newAnswer(how);
    const asked = { ...conversation, turns: [...conversation.turns, answer] };
    this.#setConversations(
      this.#state.conversations.map((one) => (one.id === conversation.id ? asked : one)),
    );
    this.#request(asked, answer);
  }

  #request(conversation: Conversation, answer: Answer): void {
    const turns = conversation.turns.filter(({ id }) => id !== answer.id);
    const messages = messagesOf(turns);
    this.#send({ type: 'ask', options: this.#optionsOf(conversation, answer), messages });
  }

  #optionsOf(conversation: Conversation, { id, temperature, seed }: Answer) {
    const { maxNewTokens } = this.#state.settings;
    return { answer: id, conversation: conversation.id, temperature, seed, maxNewTokens };
  }

  #find(id: string): Conversation | undefined {
    return this.#state.conversations.find((conversation) => conversation.id === id);
  }

  #changeAnswer(id: string, change: (answer: Answer) => Answer): void {
    this.#setConversations(changeAnswer(this.#state.conversations, id, change));
  }

  #announce(answer: string, what: string): void {
    const conversation = this.#state.conversations.find(({ turns }) => turns.some(({ id }) => id === answer));
    if (!conversation) return;
    this.store.change({ announcement: `The answer in conversation ${letterOf(conversation)} ${what}.` });
  }

  #setConversations(conversations: readonly Conversation[]): void {
    this.store.change({ conversations });
    this.#save();
  }

  #save(): void {
    this.#saving ??= setTimeout(() => this.saveNow(), SAVE_MS);
  }

  /** Keeps what a reload finds again. */
  saveNow(): void {
    clearTimeout(this.#saving);
    this.#saving = undefined;
    const { others, shown, choice, settings, isSaved } = this.#state;
    const conversations = [...this.#state.conversations, ...others];
    const isWritten = writeSaved({ conversations, shown, choice, settings });
    if (isWritten !== isSaved) this.store.change({ isSaved: isWritten });
  }
}

/** Conversations of a model, and those of others. */
function apart(
  all: readonly Conversation[],
  { source }: ModelChoice,
): { readonly own: readonly Conversation[]; readonly others: readonly Conversation[] } {
  const isOwn = ({ model }: Conversation): boolean => model === modelKey(source);
  return { own: all.filter(isOwn), others: all.filter((one) => !isOwn(one)) };
}

/** Its answer that was on its way is so no more. */
function stopped(conversation: Conversation): Conversation {
  const running = runningAnswer(conversation);
  return running
    ? changeAnswer([conversation], running.id, (answer) => ({ ...answer, end: 'cancelled' }))[0]!
    : conversation;
}

function newAnswer({ temperature, seed }: Pick<Answer, 'temperature' | 'seed'>): Answer {
  return { role: 'assistant', id: newId(), content: '', temperature, seed, nTokens: 0, end: undefined };
}
