import type { ModelChoice } from '../protocol.js';
import { modelKey, type Conversation } from './conversations.js';

// What a reload finds again: the text of conversations, and what was chosen.

const KEY = 'pageflash.chat.1';

export interface Settings {
  readonly temperature: number;
  readonly maxNewTokens: number;
}

export interface Saved {
  /** Of all models. */
  readonly conversations: readonly Conversation[];
  /** Ids of those on the screen. */
  readonly shown: readonly string[];
  readonly choice: ModelChoice;
  readonly settings: Settings;
}

export function readSaved(): Saved | undefined {
  try {
    const text = localStorage.getItem(KEY);
    if (text === null) return undefined;
    const saved = JSON.parse(text) as Saved;
    if (!Array.isArray(saved.conversations) || !Array.isArray(saved.shown)) return undefined;
    // Those of an earlier version of this page are of the model that was loaded then.
    const model = modelKey(saved.choice.source);
    return {
      ...saved,
      conversations: saved.conversations.map((one) => ({ ...one, model: one.model ?? model })),
    };
  } catch {
    // The browser forbids it, or it is of somebody else.
    return undefined;
  }
}

/** Returns whether there was room. */
export function writeSaved(saved: Saved): boolean {
  try {
    const { source } = saved.choice;
    // Files cannot be written here. The folder is in the browser's storage.
    const choice =
      source.kind === 'folder'
        ? { ...saved.choice, source: { kind: source.kind, name: source.name } as const }
        : saved.choice;
    localStorage.setItem(KEY, JSON.stringify({ ...saved, choice }));
    return true;
  } catch {
    return false;
  }
}
