import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { aptInstall, canUseApt } from './apt.mjs';

const NAMES = ['firefox-esr', 'firefox'];
const APPLICATIONS = ['/Applications/Firefox.app/Contents/MacOS/firefox'];

/**
 * The path of a Firefox, installed first if there is none.
 *
 * @returns {Promise<string>}
 */
export async function ensureFirefox() {
  if (!findFirefox() && canUseApt()) await aptInstall({ name: 'Firefox', packages: ['firefox-esr'] });
  const path = findFirefox();
  if (!path) throw new Error('No Firefox was found and none could be installed: install one.');
  return path;
}

/** @returns {string | undefined} */
function findFirefox() {
  const { PATH = '' } = process.env;
  const onPath = PATH.split(delimiter).flatMap((dir) => NAMES.map((name) => join(dir, name)));
  return [...onPath, ...APPLICATIONS].find(isProgram);
}

/** @param {string} path */
function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
