import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { transformWithOxc, type Plugin } from 'vite';

/** A browser that keeps nothing, such as in a private window, goes without. */
const REGISTER = `
  addEventListener('load', () => navigator.serviceWorker?.register('offline.js').catch(() => {}));
`;

/**
 * Adds `offline.js` to a build: a service worker that keeps all files, so that the pages open without a network. The
 * first page starts it. What `npm run demo` serves is not built, so it has none.
 */
export function offline(): Plugin {
  return {
    name: 'offline',
    apply: 'build',
    transformIndexHtml: {
      order: 'post',
      handler: (_html, { path }) =>
        path === '/index.html' ? [{ tag: 'script', injectTo: 'body', children: REGISTER }] : [],
    },
    writeBundle: {
      order: 'post',
      async handler({ dir }) {
        const files = await hashFiles(dir!);
        const source = fileURLToPath(new URL('serviceWorker.ts', import.meta.url));
        const { code } = await transformWithOxc(await readFile(source, 'utf8'), source);
        const listed = JSON.stringify(files, null, 2);
        const constants = { FILES: listed, VERSION: JSON.stringify(hash(listed)) };
        const lines = Object.entries(constants).map(([name, value]) => `const ${name} = ${value};\n`);
        await writeFile(join(dir!, 'offline.js'), lines.join('') + code);
      },
    },
  };
}

/** By address: of a page that is the folder, since servers send `index.html` elsewhere. */
async function hashFiles(folder: string): Promise<Readonly<Record<string, string>>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) =>
      join(parentPath, name)
        .slice(folder.length + 1)
        .replaceAll(sep, '/'),
    )
    .filter((path) => path !== 'offline.js')
    .toSorted();
  const hashed = paths.map(async (path) => [
    `./${path.replace(/(^|\/)index\.html$/, '$1')}`,
    `sha256-${hash(await readFile(join(folder, path)))}`,
  ]);
  return Object.fromEntries(await Promise.all(hashed)) as Readonly<Record<string, string>>;
}

function hash(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('base64');
}
