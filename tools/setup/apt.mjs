import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);

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
 * Install packages without their recommendations. apt's own words are shown only when it fails.
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
