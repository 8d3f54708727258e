import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { CachedFiles, cachedHubFiles, userCacheFolder } from '../../demo/engine/files/diskCache.js';
import { hubFiles, type HubOptions } from '../../demo/engine/files/hubFiles.js';
import { LoadProgress, type Progress } from '../../demo/engine/files/loadProgress.js';
import { urlFiles, type UrlFilesOptions } from '../../demo/engine/files/urlFiles.js';
import { MemoryFiles } from './memoryFiles.js';
import { modelServer, type Answer, type ModelServer } from './modelServer.js';

const WEIGHTS = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);
const FILES = { '/m/config.json': '{"a":1}', '/m/model.safetensors': WEIGHTS, '/m/empty': '' };
const QUICK: UrlFilesOptions = { retryMs: 1, name: 'the model' };

/** The sentence of a refusal. */
async function refusal(work: Promise<unknown>): Promise<string> {
  return work.then(
    (value) => `accepted: ${String(value)}`,
    (error: Error) => `${error.name}: ${error.message}`,
  );
}

describe('files below an address', () => {
  test('are read as text, and by ranges', async () => {
    const { address, asked } = await modelServer(FILES);
    for (const base of [`${address}/m`, `${address}/m/`]) {
      const files = urlFiles(base);
      expect(files.name).toBe(`${address}/m/`);
      expect(await files.text('config.json')).toBe('{"a":1}');
      expect(await files.text('other.json')).toBeUndefined();
      expect(await files.size('model.safetensors')).toBe(1000);
      expect(await files.size('other.safetensors')).toBeUndefined();
      expect(await files.size('empty')).toBe(0);
      expect(await files.read('model.safetensors', 900, 1000)).toEqual(WEIGHTS.slice(900));
      expect(await files.read('model.safetensors', 0, 1)).toEqual(WEIGHTS.slice(0, 1));
      expect(await files.read('model.safetensors', 5, 5)).toEqual(new Uint8Array());
    }
    expect(asked.map(({ range }) => range)).toContain('bytes=900-999');
  });

  test('have the headers of the request, and stop by its signal', async () => {
    const { address, asked } = await modelServer(FILES);
    const { signal, abort } = ((controller) => ({
      signal: controller.signal,
      abort: () => controller.abort(),
    }))(new AbortController());
    const files = urlFiles(`${address}/m`, { request: { headers: { authorization: 'Basic x' }, signal } });
    await files.read('model.safetensors', 0, 9);
    expect(asked[0]).toMatchObject({ authorization: 'Basic x', range: 'bytes=0-8' });
    abort();
    await expect(files.read('model.safetensors', 0, 9)).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('come again after a failure on the way', async () => {
    let nFailures = 0;
    const fails: Answer = (_, response) => {
      if (nFailures === 3) return false;
      nFailures++;
      if (nFailures === 1) response.writeHead(503).end();
      else if (nFailures === 2) response.destroy();
      else response.writeHead(206, { 'content-range': 'bytes 0-9/1000' }).end('short');
      return true;
    };
    const { address, asked } = await modelServer(FILES, fails);
    expect(await urlFiles(`${address}/m`, QUICK).read('model.safetensors', 0, 10)).toEqual(
      WEIGHTS.slice(0, 10),
    );
    expect(asked.length).toBe(4);
  });

  test('go where they were redirected to, without a password', async () => {
    const store = await modelServer({ '/store/1': WEIGHTS });
    const { address, asked } = await modelServer({}, (_, response) => {
      response.writeHead(302, { location: `${store.address}/store/1` }).end();
      return true;
    });
    const files = urlFiles(`${address}/m`, { ...QUICK, request: { headers: { authorization: 'Bearer x' } } });
    for (const start of [0, 10, 20]) await files.read('model.safetensors', start, start + 10);
    expect(asked.length).toBe(1);
    expect(asked[0]!.authorization).toBe('Bearer x');
    expect(store.asked.map(({ path, authorization }) => [path, authorization])).toEqual(
      [1, 2, 3].map(() => ['/store/1', undefined]),
    );
  });

  test.each([403, 404, 416])('are asked for again at once where a redirect has ended: %d', async (status) => {
    let isOver = false;
    const { address, asked } = await modelServer(
      { '/new': WEIGHTS, '/old': WEIGHTS },
      ({ path }, response) => {
        if (path === '/old' && isOver) response.writeHead(status).end();
        else if (path.startsWith('/m/'))
          response.writeHead(302, { location: isOver ? '/new' : '/old' }).end();
        else return false;
        return true;
      },
    );
    // No waiting: it would never end.
    const files = urlFiles(`${address}/m`, { ...QUICK, retryMs: 1e8 });
    await files.read('model.safetensors', 0, 10);
    isOver = true;
    expect(await files.read('model.safetensors', 10, 20)).toEqual(WEIGHTS.slice(10, 20));
    expect(asked.map(({ path }) => path)).toEqual([
      '/m/model.safetensors',
      '/old',
      '/old',
      '/m/model.safetensors',
      '/new',
    ]);
  });

  test('of a server that knows no ranges are read whole, once', async () => {
    const { address, asked } = await modelServer({}, (_, response) => {
      response.writeHead(200).end(WEIGHTS);
      return true;
    });
    const files = urlFiles(`${address}/m`, QUICK);
    expect(await files.size('model.safetensors')).toBe(1000);
    expect(await files.read('model.safetensors', 10, 20)).toEqual(WEIGHTS.slice(10, 20));
    expect(asked.length).toBe(1);
    const fresh = urlFiles(`${address}/m`, QUICK);
    expect(await fresh.read('model.safetensors', 10, 20)).toEqual(WEIGHTS.slice(10, 20));
    expect(await fresh.size('model.safetensors')).toBe(1000);
    expect(await refusal(fresh.read('model.safetensors', 990, 1001))).toMatchInlineSnapshot(
      `"EngineError: model.safetensors of the model ends before byte 1001: it is not whole."`,
    );
  });

  test('have a size where another origin hides it in the answer', async () => {
    const { address } = await modelServer(FILES, ({ method }, response) => {
      if (method === 'HEAD') return false;
      response.writeHead(206).end('x');
      return true;
    });
    expect(await urlFiles(`${address}/m`, QUICK).size('model.safetensors')).toBe(1000);
  });

  test('are not there if a web page is in their place, once others were', async () => {
    const { address } = await modelServer(FILES, ({ path }, response) => {
      if (path in FILES) return false;
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>');
      return true;
    });
    const files = urlFiles(`${address}/m`, QUICK);
    await files.text('config.json');
    expect(await files.text('chat_template.jinja')).toBeUndefined();
    expect(await files.size('model-1.safetensors')).toBeUndefined();
  });
});

describe('what a server cannot give is told', () => {
  const status = (code: number, headers = {}, body = ''): Answer => {
    return (_, response) => {
      response.writeHead(code, headers).end(body);
      return true;
    };
  };
  const page = { 'content-type': 'text/html; charset=utf-8' };
  const read = 'read';
  const large: Answer = (_, response) => {
    response.writeHead(200);
    const part = Buffer.alloc(2 ** 20);
    const send = (): void => {
      while (!response.destroyed && response.write(part));
    };
    response.on('drain', send);
    send();
    return true;
  };
  test.each([
    { why: 'a login before the server', answer: status(200, page, '<html>'), ask: 'text' },
    { why: 'a login in place of weights', answer: status(200, page, '<html>'), ask: read },
    { why: 'a file that is not there', answer: status(404), ask: read },
    { why: 'no entry', answer: status(403), ask: 'text' },
    { why: 'a failure again and again', answer: status(502, page, '<html>'), ask: 'text' },
    {
      why: 'other bytes',
      answer: status(206, { 'content-range': 'bytes 1-10/1000' }, '0123456789'),
      ask: read,
    },
    { why: 'too few bytes', answer: status(206, { 'content-range': 'bytes 0-9/1000' }, '01234'), ask: read },
    { why: 'a large file without ranges', answer: large, ask: read },
    { why: 'no size at all', answer: status(206, {}, 'x'), ask: 'size' },
  ])('$why', async ({ answer, ask }) => {
    const { address } = await modelServer({}, answer);
    const files = urlFiles(`${address}/m`, QUICK);
    const work =
      ask === 'text'
        ? files.text('config.json')
        : ask === 'size'
          ? files.size('model.safetensors')
          : files.read('model.safetensors', 0, 10);
    expect(await refusal(work)).toMatchSnapshot();
  });

  test('a server that is not there', async () => {
    const { address, close } = await modelServer({});
    await close();
    expect(
      (await refusal(urlFiles(address, QUICK).text('config.json'))).replace(/\d+(?=\.$)/, 'N'),
    ).toMatchInlineSnapshot(
      `"EngineError: config.json of the model cannot be loaded: connect ECONNREFUSED 127.0.0.1:N."`,
    );
  });
});

const COMMIT = 'c0ffee'.repeat(7).slice(0, 40);
const AT = `/o/n/resolve/${COMMIT}`;
const HUB = {
  '/api/models/o/n/revision/main': JSON.stringify({ sha: COMMIT }),
  '/api/models/o/n/revision/refs/pr/1': JSON.stringify({ sha: COMMIT }),
  [`${AT}/config.json`]: '{"a":1}',
  [`${AT}/model.safetensors`]: WEIGHTS,
};

async function hub(answer?: Answer): Promise<{ readonly server: ModelServer; readonly options: HubOptions }> {
  const server = await modelServer(HUB, answer);
  return { server, options: { endpoint: `${server.address}/`, retryMs: 1 } };
}

describe('a model on the hub', () => {
  test.each([undefined, 'main', 'refs/pr/1', COMMIT])('is that of one commit: %s', async (revision) => {
    const { server, options } = await hub();
    const files = await hubFiles('o/n', { ...options, revision, token: 'secret' });
    expect([files.name, files.commit]).toEqual(['o/n', COMMIT]);
    expect(await files.text('config.json')).toBe('{"a":1}');
    expect(await files.read('model.safetensors', 1, 3)).toEqual(WEIGHTS.slice(1, 3));
    expect(server.asked.every(({ authorization }) => authorization === 'Bearer secret')).toBe(true);
    expect(server.asked.length).toBe(revision === COMMIT ? 2 : 3);
  });

  test('that is not there, or not for everybody, is told', async () => {
    const { options } = await hub();
    const ask = (id: string, more: HubOptions = {}): Promise<string> =>
      refusal(hubFiles(id, { ...options, ...more }));
    expect(await ask('o/other')).toMatchInlineSnapshot(
      `"EngineError: The Hugging Face Hub has no model o/other."`,
    );
    expect(await ask('o/n', { revision: 'v2' })).toMatchInlineSnapshot(
      `"EngineError: The Hugging Face Hub has no model o/n with the revision v2."`,
    );
    expect(await ask('./model')).toMatchInlineSnapshot(
      `"EngineError: "./model" is no id of a model on the Hugging Face Hub, which is owner/name."`,
    );
    expect(await ask('gpt2')).toMatchInlineSnapshot(
      `"EngineError: "gpt2" is no id of a model on the Hugging Face Hub, which is owner/name."`,
    );
    const closed = await hub(({ path }, response) => {
      if (path.startsWith('/api') && !path.includes('hidden')) return false;
      response.writeHead(401).end();
      return true;
    });
    const told = async (work: Promise<unknown>): Promise<string> =>
      (await refusal(work)).replace(closed.server.address, 'https://hub');
    expect(await told(hubFiles('o/hidden', closed.options))).toMatchInlineSnapshot(
      `"EngineError: The Hugging Face Hub has no model o/hidden that is public."`,
    );
    expect(await told(hubFiles('o/hidden', { ...closed.options, token: 'x' }))).toMatchInlineSnapshot(
      `"EngineError: The Hugging Face Hub has no model o/hidden that this token may read."`,
    );
    const gated = await hubFiles('o/n', closed.options);
    expect(await told(gated.text('config.json'))).toMatchInlineSnapshot(
      `"EngineError: o/n is not for everybody: accept its conditions at https://hub/o/n, and pass a token of your account, as HF_TOKEN to the command."`,
    );
    const refused = await hubFiles('o/n', { ...closed.options, token: 'x' });
    expect(await told(refused.read('model.safetensors', 0, 9))).toMatchInlineSnapshot(
      `"EngineError: o/n is not for everybody, nor for the token given: accept its conditions at https://hub/o/n, and pass a token of your account, as HF_TOKEN to the command."`,
    );
  });

  test('whose weights are on another server that refuses them is told so, not as a matter of the hub', async () => {
    const store = await modelServer({}, (_, response) => {
      response.writeHead(403).end();
      return true;
    });
    const { options } = await hub(({ path }, response) => {
      if (!path.endsWith('.safetensors')) return false;
      response.writeHead(302, { location: `${store.address}/store/1` }).end();
      return true;
    });
    const files = await hubFiles('o/n', options);
    expect(await refusal(files.read('model.safetensors', 0, 9))).toMatchInlineSnapshot(
      `"EngineError: model.safetensors of o/n cannot be loaded: it answers 403 (Forbidden)."`,
    );
  });

  test('of a hub that answers something else is refused', async () => {
    const { options } = await hub((_, response) => {
      response.writeHead(200).end('{}');
      return true;
    });
    expect(await refusal(hubFiles('o/n', options))).toMatchInlineSnapshot(
      `"EngineError: The Hugging Face Hub does not say which commit main of o/n is."`,
    );
  });
});

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pageflash-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

describe('files that are kept on disk', () => {
  test('are loaded once, by blocks, whatever is read of them', async () => {
    const folder = await temporaryFolder();
    const source = new MemoryFiles({ 'config.json': '{}', 'model.safetensors': WEIGHTS });
    const files = new CachedFiles(source, folder, { blockBytes: 64 });
    for (const [start, end] of [
      [0, 8],
      [60, 70],
      [0, 1000],
      [990, 1000],
      [7, 7],
    ] as const)
      expect(await files.read('model.safetensors', start, end)).toEqual(WEIGHTS.slice(start, end));
    expect(source.reads.length).toBe(16);
    expect(source.reads.at(-1)).toEqual(['model.safetensors', 960, 1000]);
    // Another run, whose source has nothing.
    const later = new CachedFiles(new MemoryFiles({}), folder, { blockBytes: 64 });
    expect(await later.size('model.safetensors')).toBe(1000);
    expect(await later.read('model.safetensors', 500, 700)).toEqual(WEIGHTS.slice(500, 700));
    expect(await refusal(later.read('model.safetensors', 999, 1001))).toMatchInlineSnapshot(
      `"EngineError: model.safetensors of test/model ends before byte 1001."`,
    );
    expect(await refusal(later.read('other.safetensors', 0, 1))).toMatchInlineSnapshot(
      `"EngineError: test/model has no other.safetensors."`,
    );
  });

  test('are asked for once by readers side by side, and again after a failure', async () => {
    const source = new MemoryFiles({ 'model.safetensors': WEIGHTS });
    const read = source.read.bind(source);
    let fails = true;
    source.read = (file, start, end) => (fails ? Promise.reject(new Error('cut')) : read(file, start, end));
    const files = new CachedFiles(source, await temporaryFolder(), { blockBytes: 512 });
    await expect(files.read('model.safetensors', 0, 1)).rejects.toThrow('cut');
    fails = false;
    const parts = await Promise.all([0, 100, 200].map((at) => files.read('model.safetensors', at, at + 100)));
    expect(parts).toEqual([0, 100, 200].map((at) => WEIGHTS.slice(at, at + 100)));
    expect(source.reads.length).toBe(1);
  });

  test('a block of another size is loaded again, and what a killed run left goes', async () => {
    const folder = await temporaryFolder();
    const load = (): Promise<unknown> =>
      new CachedFiles(new MemoryFiles({ m: WEIGHTS }), folder, { blockBytes: 512 }).read('m', 0, 1000);
    await load();
    await writeFile(join(folder, 'm.blocks', '000001'), 'cut');
    const stale = join(folder, 'm.blocks', '000000.1-1.part');
    await writeFile(stale, 'cut');
    await utimes(stale, 1, 1);
    await writeFile(join(folder, 'm.blocks', '000000.1-2.part'), 'of another program, just now');
    expect(await load()).toEqual(WEIGHTS);
    expect((await readdir(join(folder, 'm.blocks'))).toSorted()).toEqual([
      '000000',
      '000000.1-2.part',
      '000001',
      'size',
    ]);
  });

  test('a folder that cannot be written is told', async () => {
    const folder = join(await temporaryFolder(), 'file');
    await writeFile(folder, '');
    const files = new CachedFiles(new MemoryFiles({ 'config.json': '{}' }), folder);
    expect(await refusal(files.text('config.json'))).toMatch(
      /^EngineError: 2 bytes of test\/model cannot be kept in .*file: .*\.$/,
    );
  });

  test('a model of the hub is loaded once, and there without a network', async () => {
    const { server, options } = await hub();
    const cacheFolder = await temporaryFolder();
    const load = async (): Promise<void> => {
      const files = await cachedHubFiles('o/n', { ...options, cacheFolder });
      expect(await files.text('config.json')).toBe('{"a":1}');
      expect(await files.text('chat_template.jinja')).toBeUndefined();
      expect(await files.read('model.safetensors', 0, 1000)).toEqual(WEIGHTS);
    };
    await load();
    const nFirst = server.asked.length;
    await load();
    expect(server.asked.slice(nFirst).map(({ path }) => path)).toEqual(['/api/models/o/n/revision/main']);
    await server.close();
    await load();
    const other = cachedHubFiles('o/n', { ...options, cacheFolder, revision: 'v2' });
    expect(await refusal(other)).toMatch(
      /^EngineError: v2 of o\/n cannot be loaded: connect ECONNREFUSED .*\.$/,
    );
  });

  test('the folder of a user is absolute', () => {
    expect(userCacheFolder()).toMatch(/^(\/|[A-Z]:\\).*pageflash.models$/);
  });
});

test('progress tells the rate of the last seconds, and what is left', () => {
  let ms = 0;
  const told: Progress[] = [];
  const progress = new LoadProgress(
    1000,
    (next) => told.push(next),
    () => ms,
  );
  progress.add(0);
  for (ms = 1000; ms <= 10_000; ms += 1000) progress.add(ms <= 5000 ? 20 : 100);
  expect(told[0]).toEqual({ bytes: 0, totalBytes: 1000, bytesPerSecond: undefined, secondsLeft: undefined });
  expect(told[5]).toEqual({ bytes: 100, totalBytes: 1000, bytesPerSecond: 20, secondsLeft: 45 });
  expect(told[10]).toEqual({ bytes: 600, totalBytes: 1000, bytesPerSecond: 100, secondsLeft: 4 });
});
