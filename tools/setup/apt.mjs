import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);

const SOURCES_DIR = '/etc/apt/sources.list.d';

/** The distribution by the fields of /etc/os-release (`ID`, `VERSION_CODENAME`); empty where there is none. */
export function readOsRelease() {
  try {
    const lines = readFileSync('/etc/os-release', 'utf8').matchAll(/^(\w+)="?(.*?)"?$/gm);
    return Object.fromEntries([...lines].map(([, field, value]) => [field, value]));
  } catch {
    return {};
  }
}

/** Whether this process may install packages of Debian or a distribution made from it. */
export function canUseApt() {
  const { ID, ID_LIKE = '' } = readOsRelease();
  return process.getuid?.() === 0 && [ID, ...ID_LIKE.split(' ')].includes('debian');
}

/**
 * Installs packages without their recommendations. apt's own words are shown only when it fails.
 *
 * @param {{ name: string, packages: readonly string[], release?: string }} options `name` is what the line on the
 *   terminal calls it; `release` takes the packages and what they need from there, such as `bookworm-backports`.
 */
export async function aptInstall({ name, packages, release }) {
  console.log(`Installing ${name} with apt …`);
  await apt('update');
  await apt('install', '--no-install-recommends', ...(release ? ['-t', release] : []), ...packages);
}

/** @param {readonly string[]} args */
async function apt(...args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  try {
    await run('apt-get', ['-qq', '-y', '-o', 'DPkg::Lock::Timeout=300', ...args], {
      env,
      maxBuffer: 2 ** 26,
    });
  } catch (error) {
    const { stdout = '', stderr = '' } = /** @type {{ stdout?: string, stderr?: string }} */ (error);
    throw new Error(`apt-get ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

/**
 * Let apt see `<codename>-backports`, from the mirror that the machine already uses.
 *
 * @param {string} codename
 * @returns {string} the release's name, for `apt-get install -t`
 */
export function addBackports(codename) {
  const release = `${codename}-backports`;
  const sources = aptSources();
  if (!sources.some(({ suites }) => suites.includes(release))) {
    const base = sources.find(({ suites }) => suites.includes(codename));
    if (!base)
      throw new Error(`No apt source of this machine offers ${codename}: add ${release} to apt by hand.`);
    const options = base.signedBy ? `[signed-by=${base.signedBy}] ` : '';
    writeFileSync(`${SOURCES_DIR}/${release}.list`, `deb ${options}${base.uri} ${release} main\n`);
  }
  return release;
}

/** @typedef {{ uri: string, suites: readonly string[], signedBy?: string | undefined }} Source */

/**
 * Where apt looks for packages, by its own files.
 *
 * @returns {Source[]}
 */
export function aptSources() {
  const inDir = existsSync(SOURCES_DIR)
    ? readdirSync(SOURCES_DIR).map((name) => `${SOURCES_DIR}/${name}`)
    : [];
  return ['/etc/apt/sources.list', ...inDir].filter(existsSync).flatMap((path) => {
    if (path.endsWith('.list')) return parseList(readFileSync(path, 'utf8'));
    if (path.endsWith('.sources')) return parseDeb822(readFileSync(path, 'utf8'));
    return [];
  });
}

/**
 * One-line style: `deb [signed-by=…] URI SUITE COMPONENT…`.
 *
 * @param {string} text
 * @returns {Source[]}
 */
function parseList(text) {
  return [...text.matchAll(/^deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)/gm)].map(
    ([, options = '', uri = '', suite = '']) => ({
      uri,
      suites: [suite],
      signedBy: /signed-by=(\S+)/.exec(options)?.[1],
    }),
  );
}

/**
 * Deb822 style: paragraphs of `Field: values`, parted by blank lines.
 *
 * @param {string} text
 * @returns {Source[]}
 */
function parseDeb822(text) {
  const withoutComments = text.replace(/^#.*\n/gm, '');
  return withoutComments.split(/\n\s*\n/).flatMap((paragraph) => {
    /** @param {string} name */
    const field = (name) =>
      new RegExp(`^${name}:\\s*(.+)$`, 'im').exec(paragraph)?.[1]?.trim().split(/\s+/) ?? [];
    const [uri] = field('URIs');
    const enabled = field('Enabled')[0] !== 'no' && field('Types').includes('deb');
    if (!uri || !enabled) return [];
    const [signedBy] = field('Signed-By');
    return [{ uri, suites: field('Suites'), signedBy: signedBy?.startsWith('/') ? signedBy : undefined }];
  });
}
