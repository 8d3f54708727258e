import { expect, test } from 'vitest';
import { folderFiles } from '../../demo/engine/files/folderFiles.js';
import { openModel } from '../../demo/engine/model/openModel.js';
import { settingsOf, type EngineOptions } from '../../demo/engine/serving/engineOptions.js';
import { draftByLookup } from '../../demo/engine/serving/speculation.js';

const model = await openModel(await folderFiles('demo/model'));

test('an engine has defaults', () => {
  expect(settingsOf({ model })).toEqual({
    weights: 'f16',
    kvType: 'f16',
    qkvType: 'f16',
    rotaryType: 'f32',
    context: 1024,
    nSequences: 4,
    maxTokens: 512,
    maxLogits: 4,
    nDrafts: 0,
    preempt: 'swap',
    pageSize: 16,
    nPages: 256,
    attention: 'paged',
  });
  const many = { ...model, config: { ...model.config, maxPositions: 131072, dtype: null } };
  expect(settingsOf({ model: many, kvType: 'f32', nSequences: 1 })).toMatchObject({
    weights: 'f16',
    qkvType: 'f32',
    context: 4096,
    nPages: 256,
  });
});

test('rows of logits are those of all sequences with their drafts, or those of a step', () => {
  expect(settingsOf({ model, nDrafts: 4 }).maxLogits).toBe(20);
  expect(settingsOf({ model, nDrafts: 4, maxTokens: 16 }).maxLogits).toBe(16);
});

test.each<{ why: string; options: Partial<EngineOptions> }>([
  { why: 'no token of a step', options: { maxTokens: 0 } },
  { why: 'a part of a sequence', options: { nSequences: 1.5 } },
  { why: 'no context', options: { context: 0 } },
  { why: 'no page', options: { nPages: 0 } },
  { why: 'less than no draft', options: { nDrafts: -1 } },
  { why: 'more positions than there are', options: { context: 1025 } },
  { why: 'a cache that naive attention has not', options: { attention: 'naive', kvType: 'bf16' } },
])('refused before anything is loaded: $why', ({ options }) => {
  expect(() => settingsOf({ model, ...options })).toThrowErrorMatchingSnapshot();
});

test.each([
  { tokens: [1, 2, 3, 9, 8, 1, 2, 3], n: 2, drafts: [9, 8], why: 'what followed the last three' },
  { tokens: [1, 2, 3, 9, 8, 1, 2, 3], n: 9, drafts: [9, 8, 1, 2, 3], why: 'no more than there are' },
  { tokens: [7, 3, 5, 4, 3, 6, 3], n: 1, drafts: [6], why: 'the latest place, of the last one alone' },
  { tokens: [1, 2, 3], n: 4, drafts: [], why: 'none that stood before' },
  { tokens: [1, 1], n: 0, drafts: [], why: 'none asked for' },
])('drafts are $why', ({ tokens, n, drafts }) => {
  expect(draftByLookup(tokens, n)).toEqual(drafts);
});
