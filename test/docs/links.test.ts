import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';
import { expect, test } from 'vitest';

/** What is made or installed, not written. */
const NOT_WRITTEN = /^(docs\/api|.*\/(node_modules|dist|\.cache)|node_modules|dist|\..*)$/;

const files: readonly string[] = markdownOf('.');

function markdownOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    if (entry.isDirectory()) return NOT_WRITTEN.test(path) ? [] : markdownOf(path);
    return path.endsWith('.md') ? [path] : [];
  });
}

/** A page without its code, where brackets and signs mean something else. */
function proseOf(file: string): string {
  return readFileSync(file, 'utf8')
    .replaceAll(/^```.*\n[^]*?^```$/gm, '')
    .replaceAll(/(`+)[^`].*?\1/g, (code) => code.replaceAll(/[[\]()]/g, ''));
}

/** Names of the headings as GitHub and the site make them. */
function anchorsOf(file: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, title] of proseOf(file).matchAll(/^#+ (.*)$/gm)) {
    const text = title!
      .replaceAll(/\[(.*?)\]\(.*?\)/g, '$1')
      .trim()
      .toLowerCase();
    anchors.add(text.replaceAll(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'));
  }
  return anchors;
}

/** Targets of a page's links and images, and of those that the site's home page has in its header. */
function targetsOf(file: string): string[] {
  const prose = proseOf(file);
  const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g), ...prose.matchAll(/^ +link: (\S+)$/gm)];
  return links.map(([, target]) => target!).filter((target) => !/^[a-z]+:/.test(target));
}

/** Why a link leads nowhere; undefined if it leads somewhere. */
function problemOf(file: string, target: string): string | undefined {
  const [path, anchor] = target.split('#') as [string, string?];
  // From the root of the site, whose links need no ending.
  const isOfSite = path.startsWith('/');
  let found = isOfSite ? join('docs', path) : path ? join(file, '..', path) : file;
  // The site's build makes these pages from the sources, and checks the links to them.
  if (/^docs\/api(\/|$)/.test(posix.normalize(found))) return undefined;
  if (isOfSite && !found.endsWith('.md')) found += '.md';
  if (!existsSync(found)) return `${file}: there is no ${target}`;
  if (anchor === undefined || statSync(found).isDirectory() || !found.endsWith('.md')) return undefined;
  return anchorsOf(found).has(anchor) ? undefined : `${file}: ${target} has no such heading`;
}

test('there are pages with links to check', () => {
  expect(files).toContain('README.md');
  expect(files).toContain('docs/guide/serving.md');
  expect(targetsOf('README.md').length).toBeGreaterThan(20);
  expect(targetsOf('docs/index.md')).toContain('/guide/first-attention');
});

test('a link that leads nowhere is found', () => {
  expect(problemOf('README.md', 'docs/guide/nothing.md')).toMatchInlineSnapshot(
    `"README.md: there is no docs/guide/nothing.md"`,
  );
  expect(problemOf('README.md', 'docs/guide/serving.md#nothing')).toMatchInlineSnapshot(
    `"README.md: docs/guide/serving.md#nothing has no such heading"`,
  );
  expect(problemOf('docs/index.md', '/guide/nothing')).toMatchInlineSnapshot(
    `"docs/index.md: there is no /guide/nothing"`,
  );
});

test.each(files)('links of %s lead somewhere', (file) => {
  expect(targetsOf(file).flatMap((target) => problemOf(file, target) ?? [])).toEqual([]);
});
