import { Tokenizer } from '@huggingface/tokenizers';
import * as fc from 'fast-check';
import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { folderFiles } from '../../demo/engine/files/folderFiles.js';
import { StopStrings } from '../../demo/engine/text/stopStrings.js';
import { TextCodec, type ChatMessage } from '../../demo/engine/text/textCodec.js';
import { MemoryFiles } from './memoryFiles.js';

interface GoldenCase {
  readonly messages: readonly ChatMessage[];
  readonly text: string;
  readonly ids: readonly number[];
  readonly generated: readonly number[];
  readonly generatedText: string;
}

/** A tokenizer as SentencePiece makes them: letters and a few words, all else as bytes. */
function sentencePiece({ start = 1, prepends = true } = {}): Record<string, object> {
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
  );
  const pieces = [...'▁abcdefghijklmnopqrstuvwxyzé.,!', '▁a', '▁▁', 'th', 'he', 'the', '▁the'];
  const tokens = ['<unk>', '<s>', '</s>', ...bytes, ...pieces];
  const special = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const bos = { SpecialToken: { id: '<s>', type_id: 0 } };
  return {
    'tokenizer.json': {
      version: '1.0',
      added_tokens: ['<unk>', '<s>', '</s>'].map((content, id) => ({ id, content, ...special })),
      normalizer: {
        type: 'Sequence',
        normalizers: [
          ...(prepends ? [{ type: 'Prepend', prepend: '▁' }] : []),
          { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
        ],
      },
      pre_tokenizer: null,
      post_processor: {
        type: 'TemplateProcessing',
        single: [bos, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [bos, { Sequence: { id: 'A', type_id: 0 } }, bos, { Sequence: { id: 'B', type_id: 1 } }],
        special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
      },
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
          ...(start > 0 ? [{ type: 'Strip', content: ' ', start, stop: 0 }] : []),
        ],
      },
      model: {
        type: 'BPE',
        unk_token: '<unk>',
        fuse_unk: true,
        byte_fallback: true,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: ['▁ a', '▁ ▁', 't h', 'h e', 'th e', '▁ the'],
      },
    },
    'tokenizer_config.json': {
      bos_token: { content: '<s>' },
      eos_token: '</s>',
      clean_up_tokenization_spaces: false,
    },
  };
}

const BROKEN = '\uFFFD';
const FAMILY = '👩🏽‍🚀';
const TEXTS = [
  'Hello there, world!',
  ' two  spaces\nand a line\t',
  'naïve café Ünïcödé',
  '日本語とカタカナ',
  'नमस्ते दुनिया',
  `an astronaut ${FAMILY} and a flag 🇺🇳, then 👍👍🏿.`,
  `${FAMILY}${FAMILY}`,
  '\uFEFFmarked',
  '',
];

let shipped: TextCodec;
let library: Tokenizer;
let goldens: readonly GoldenCase[];
beforeAll(async () => {
  shipped = await TextCodec.load(await folderFiles('demo/model'));
  const json = async (file: string): Promise<object> =>
    JSON.parse(await readFile(`demo/model/${file}`, 'utf8')) as object;
  library = new Tokenizer(await json('tokenizer.json'), await json('tokenizer_config.json'));
  goldens = ((await json('golden.json')) as { readonly cases: readonly GoldenCase[] }).cases;
});

/** The pieces in which a text comes, with what was held back to the end. */
function streamed(codec: TextCodec, ids: readonly number[]): string[] {
  const stream = codec.stream();
  const pieces = ids.map((id) => stream.push(id));
  return [...pieces, stream.flush()];
}

describe('the model that ships with the repository', () => {
  test('encodes its golden conversations to their tokens', () => {
    expect(goldens.length).toBe(6);
    for (const { messages, text, ids, generated, generatedText } of goldens) {
      // Each ends with the marker of the model's turn.
      expect(shipped.formatChat(messages)).toBe(text);
      expect(shipped.encodeChat(messages)).toEqual(ids);
      expect(shipped.encode(text)).toEqual(ids);
      expect(shipped.decode(ids, { skipSpecial: false })).toBe(text);
      expect(shipped.decode(generated, { skipSpecial: false })).toBe(generatedText);
    }
  });

  test('leaves the beginning of its next turn out if asked to', () => {
    const messages = [{ role: 'user', content: 'Hello' }];
    expect(shipped.formatChat(messages, { addGenerationPrompt: false })).toBe('<|bos|><|user|>Hello<|end|>');
    expect(shipped.formatChat(messages)).toBe('<|bos|><|user|>Hello<|end|><|assistant|>');
    expect([shipped.bosId, shipped.eosId, shipped.hasChatTemplate]).toEqual([1, 2, true]);
  });

  test.each(TEXTS)('gives a text back: %j', (text) => {
    const ids = shipped.encode(text);
    expect(shipped.decode(ids)).toBe(text);
    const pieces = streamed(shipped, ids);
    expect(pieces.join('')).toBe(text);
    expect(pieces.join('')).not.toContain(BROKEN);
  });

  test('shows an emoji of several characters when it is whole', () => {
    const ids = shipped.encode(`so ${FAMILY}!`);
    const pieces = streamed(shipped, ids).filter((piece) => piece !== '');
    expect(ids.length).toBeGreaterThan(12);
    expect(pieces.filter((piece) => piece.includes('👩'))).toEqual([`${FAMILY}!`]);
  });

  test('any tokens in a stream are what the library decodes, at once', () => {
    const ids = fc.array(fc.integer({ min: 0, max: 767 }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(ids, fc.boolean(), (tokens, skipSpecial) => {
        const whole = library.decode(tokens, {
          skip_special_tokens: skipSpecial,
          clean_up_tokenization_spaces: false,
        });
        const stream = shipped.stream({ skipSpecial });
        const pieces = [...tokens.map((id) => stream.push(id)), stream.flush()];
        expect(pieces.join('')).toBe(whole);
        if (!whole.includes(BROKEN)) expect(pieces.some((piece) => piece.includes(BROKEN))).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  test('a stream holds back one emoji at most, however long it is joined', () => {
    const broken = shipped.encode('é').at(-1)!; // the second byte alone, again and again
    const joined = shipped.encode('👩\u200D');
    for (const ids of [[broken], joined]) {
      const stream = shipped.stream();
      for (let i = 0; i < 20_000; i++) stream.push(ids[i % ids.length]!);
      expect(stream.flush().length).toBeLessThan(70);
    }
  });

  test('ids beyond the vocabulary have no text', () => {
    expect(shipped.decode([768, 100_000])).toBe('');
  });
});

describe('a tokenizer of SentencePiece', () => {
  test.each(TEXTS)('gives a text back: %j', async (text) => {
    for (const options of [{}, { start: 0, prepends: false }]) {
      const codec = await TextCodec.load(new MemoryFiles(sentencePiece(options)));
      const ids = codec.encode(text);
      expect(ids[0]).toBe(1);
      expect(codec.decode(ids)).toBe(text);
      expect(streamed(codec, ids).join('')).toBe(text);
    }
  });

  test('any tokens in a stream are what the library decodes, at once', async () => {
    for (const options of [{}, { start: 3 }, { start: 0, prepends: false }]) {
      const files = sentencePiece(options);
      const codec = await TextCodec.load(new MemoryFiles(files));
      const whole = new Tokenizer(files['tokenizer.json']!, files['tokenizer_config.json']!);
      // The library takes the bytes of U+FEFF at the start for a mark, so none of them here.
      const id = fc.integer({ min: 0, max: 294 }).filter((token) => token !== 3 + 0xef);
      fc.assert(
        fc.property(fc.array(id, { minLength: 1, maxLength: 40 }), (tokens) => {
          const text = whole.decode(tokens, { skip_special_tokens: true });
          expect(streamed(codec, tokens).join('')).toBe(text);
        }),
        { numRuns: 300 },
      );
    }
  });

  test('loses the space before its first word at the start alone', async () => {
    const codec = await TextCodec.load(new MemoryFiles(sentencePiece()));
    const [, the, ...rest] = codec.encode('the a');
    expect(codec.decode([the!, ...rest])).toBe('the a');
    expect(codec.decode([the!, ...rest], { isContinuation: true })).toBe(' the a');
    const stream = codec.stream();
    expect([the!, the!].map((id) => stream.push(id))).toEqual(['the', ' the']);
  });

  test.each([
    { why: 'as tokenizer.json has it', config: {}, text: 'the', wants: true },
    { why: 'not twice', config: {}, text: '<s>the', wants: true },
    { why: 'none by the config', config: { add_bos_token: false }, text: 'the', wants: false },
    { why: 'one of its own', config: { add_bos_token: false }, text: '<s>the', wants: true },
    {
      why: 'a config that does not count',
      config: { add_bos_token: false, tokenizer_class: 'PreTrainedTokenizerFast' },
      text: 'the',
      wants: true,
    },
  ])('begins a text with <s> once: $why', async ({ config, text, wants }) => {
    const files = sentencePiece();
    const fields = { ...files['tokenizer_config.json'], tokenizer_class: 'LlamaTokenizer', ...config };
    const codec = await TextCodec.load(new MemoryFiles({ ...files, 'tokenizer_config.json': fields }));
    expect(codec.encode(text).filter((id) => id === 1)).toEqual(wants ? [1] : []);
  });

  test('begins one with <s> that tokenizer.json leaves out', async () => {
    const files = sentencePiece();
    const json = { ...files['tokenizer.json'], post_processor: null };
    const fields = {
      ...files['tokenizer_config.json'],
      tokenizer_class: 'GemmaTokenizer',
      add_bos_token: true,
    };
    const codec = await TextCodec.load(
      new MemoryFiles({ 'tokenizer.json': json, 'tokenizer_config.json': fields }),
    );
    expect(codec.encode('the')[0]).toBe(1);
  });
});

describe('a chat template', () => {
  const inst = `{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported.') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if tools is not none %}tools{% endif %}`;
  const messages = [{ role: 'user', content: 'the' }];
  const files = sentencePiece();
  const withConfig = (fields: object): Record<string, object> => ({
    ...files,
    'tokenizer_config.json': { ...files['tokenizer_config.json'], ...fields },
  });

  test.each([
    {
      why: 'a file of its own, which wins',
      from: { ...withConfig({ chat_template: 'old' }), 'chat_template.jinja': inst },
    },
    { why: 'in the config', from: withConfig({ chat_template: inst }) },
    {
      why: 'one of several',
      from: withConfig({
        chat_template: [
          { name: 'tool_use', template: 'x' },
          { name: 'default', template: inst },
        ],
      }),
    },
    { why: "in a processor's file", from: { ...files, 'chat_template.json': { chat_template: inst } } },
  ])('comes from $why', async ({ from }) => {
    const codec = await TextCodec.load(new MemoryFiles(from as Record<string, object | string>));
    expect(codec.formatChat(messages)).toBe('<s>[user]the');
    expect(codec.encodeChat(messages).filter((id) => id === 1)).toEqual([1]);
  });

  test('that refuses, cannot be read or is missing is told', async () => {
    const load = (template?: string): Promise<TextCodec> =>
      TextCodec.load(
        new MemoryFiles(template === undefined ? files : withConfig({ chat_template: template })),
      );
    const codec = await load(inst);
    expect(() =>
      codec.encodeChat([{ role: 'system', content: 'be kind' }]),
    ).toThrowErrorMatchingInlineSnapshot(
      `[EngineError: The chat template of test/model refuses this conversation: System role not supported.]`,
    );
    const broken = await load('{% if %}');
    expect(() => broken.encodeChat(messages)).toThrowErrorMatchingInlineSnapshot(
      `[EngineError: The chat template of test/model cannot be read: Unexpected token: CloseStatement.]`,
    );
    const none = await load();
    expect(none.hasChatTemplate).toBe(false);
    expect(() => none.encodeChat(messages)).toThrowErrorMatchingInlineSnapshot(
      `[EngineError: test/model has no chat template: it continues texts, but is not made for conversations.]`,
    );
  });
});

test('a model without a tokenizer, or with an unknown one, is refused', async () => {
  const load = (json?: object): Promise<TextCodec> =>
    TextCodec.load(new MemoryFiles(json === undefined ? {} : { 'tokenizer.json': json }));
  await expect(load()).rejects.toThrowErrorMatchingInlineSnapshot(
    `[EngineError: test/model has no tokenizer.json, so the engine can read and write token ids alone, not text.]`,
  );
  await expect(load({ decoder: { type: 'WordPiece' } })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[EngineError: The tokenizer of test/model turns tokens into text by WordPiece, which the engine does not know: it knows byte-level tokens and those of SentencePiece.]`,
  );
  await expect(load({ decoder: { type: 'ByteLevel' } })).rejects.toThrowErrorMatchingInlineSnapshot(
    `[EngineError: The tokenizer.json of test/model cannot be used: Tokenizer must contain a "model" property.]`,
  );
});

describe('stop strings', () => {
  /** What is shown of a text that comes in pieces. */
  function shown(stops: readonly string[], pieces: readonly string[]): { text: string; isStopped: boolean } {
    const stop = new StopStrings(stops);
    const text = pieces.map((piece) => stop.push(piece)).join('');
    return { text: text + stop.flush(), isStopped: stop.isStopped };
  }

  test.each([
    { stops: [], pieces: ['ab', 'c'], text: 'abc', isStopped: false, why: 'none' },
    { stops: [''], pieces: ['ab'], text: 'ab', isStopped: false, why: 'an empty one is none' },
    {
      stops: ['END'],
      pieces: ['a E', 'N', 'D b'],
      text: 'a ',
      isStopped: true,
      why: 'one over three pieces',
    },
    { stops: ['END'], pieces: ['a EN', 'TER'], text: 'a ENTER', isStopped: false, why: 'a beginning alone' },
    { stops: ['END'], pieces: ['EN'], text: 'EN', isStopped: false, why: 'a beginning at the end' },
    { stops: ['aab'], pieces: ['aa', 'ab'], text: 'a', isStopped: true, why: 'one that begins like itself' },
    { stops: ['abcd', 'bc'], pieces: ['abcd'], text: 'a', isStopped: true, why: 'the one that ends first' },
    { stops: ['c', 'abc'], pieces: ['xab', 'c'], text: 'x', isStopped: true, why: 'the longer of two' },
  ])('$why', ({ stops, pieces, text, isStopped }) => {
    expect(shown(stops, pieces)).toEqual({ text, isStopped });
  });

  test('a text is held back no longer than it may be one', () => {
    const stop = new StopStrings(['\n\nUser:']);
    expect(['one', '\n', '\n', 'Us', 'age', '\n\nUser'].map((piece) => stop.push(piece))).toEqual([
      'one',
      '',
      '',
      '',
      '\n\nUsage',
      '',
    ]);
    expect([stop.flush(), stop.isStopped]).toEqual(['\n\nUser', false]);
  });

  test('the pieces do not matter, and no stop string is ever shown', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 4 });
    const pieces = fc.array(letters, { maxLength: 12 });
    fc.assert(
      fc.property(fc.array(letters, { maxLength: 3 }), pieces, (stops, parts) => {
        const text = parts.join('');
        const result = shown(stops, parts);
        expect(result).toEqual(shown(stops, [...text]));
        const real = stops.filter((stop) => stop !== '');
        expect(real.some((stop) => result.text.includes(stop))).toBe(false);
        expect(result.isStopped).toBe(real.some((stop) => text.includes(stop)));
        expect(text.startsWith(result.text)).toBe(true);
        if (!result.isStopped) expect(result.text).toBe(text);
        else expect(real.some((stop) => text.startsWith(stop, result.text.length))).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});
