import readme from '../../README.md?raw';

/** A kind of project that the README says how to use the package from. */
export interface Place {
  /** The page to make, where it has one. */
  readonly html: string | undefined;
  /** What to install: the package, and what is needed beside it. Nothing where a page asks a CDN for it. */
  readonly packages: readonly string[];
  /** What to run then. */
  readonly commands: readonly string[];
}

/** What a line begins with that installs packages, whose names follow. */
const INSTALL = /^(?:npm install(?: --save-dev)? |deno add npm:)/;

const [, section = ''] = /\n## Where to use it from\n(.*?)\n## /s.exec(readme) ?? [];

/** What the README says of each kind of project, by its heading. */
export const places: Readonly<Record<string, Place>> = Object.fromEntries(
  section
    .split('\n### ')
    .slice(1)
    .map((text) => [text.slice(0, text.indexOf('\n')), placeOf(text)]),
);

function placeOf(text: string): Place {
  const block = (language: string): string | undefined =>
    new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 's').exec(text)?.[1];
  const lines = (block('sh') ?? '').split('\n').filter((line) => line !== '');
  const isInstall = (line: string): boolean => INSTALL.test(line);
  return {
    html: block('html'),
    packages: lines.filter(isInstall).flatMap((line) => line.replace(INSTALL, '').split(' ')),
    commands: lines.filter((line) => !isInstall(line)),
  };
}
