import type { ModelSource } from '../protocol.js';

/** What the tiny model was taught. */
const TAUGHT = [
  'What is a KV cache?',
  'How does FlashAttention work?',
  'What is paged attention?',
  'Explain the difference between prefill and decode.',
  'Tell me a story about a token.',
  'Count from 3 to 18.',
] as const;

/** For models that know the world. */
const GENERAL = [
  'Why is the sky blue?',
  'Explain virtual memory in three sentences.',
  'Write a haiku about a page of memory.',
  'What should I cook with eggs and tomatoes?',
] as const;

/** Questions to click. */
export function examplesFor(source: ModelSource): readonly string[] {
  return source.kind === 'shipped' ? TAUGHT : GENERAL;
}

/** Questions to ask all at once. */
export function fourExamples(source: ModelSource): readonly string[] {
  return examplesFor(source).slice(0, 4);
}
