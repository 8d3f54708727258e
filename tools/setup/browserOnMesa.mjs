import {
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

/**
 * How to start a browser: its program, and what is to be added to the environment.
 *
 * @typedef {{ program: string, env: Readonly<Record<string, string>> }} InstalledBrowser
 */

/**
 * A browser on the libraries of an unpacked Mesa. `loader --library-path libraries PROGRAM` does for a program of one process
 * alone: a browser starts itself again, and finds its files beside what runs. So its folder is copied, as links to
 * everything but the programs, whose copies name that loader as theirs.
 *
 * @param {string} program the browser that is installed
 * @param {import('./mesa.mjs').UnpackedMesa | undefined} mesa undefined for the machine's own driver
 * @returns {InstalledBrowser} the installed one itself where it is started by a script, as that of a snap
 */
export function browserOnMesa(program, mesa) {
  const installed = realpathSync(program);
  if (!mesa || !withLoader(installed, mesa.loader)) return { program, env: {} };
  const { loader, libraries, driver } = mesa;
  const name = basename(installed);
  const folder = resolve('node_modules/.cache/pageflash', `${name}-on-mesa`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const file of readdirSync(dirname(installed))) {
    const original = join(dirname(installed), file);
    const patched = withLoader(original, loader);
    if (patched) writeFileSync(join(folder, file), patched, { mode: 0o755 });
    else symlinkSync(original, join(folder, file));
  }
  return {
    program: join(folder, name),
    env: { LD_LIBRARY_PATH: libraries, VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver },
  };
}

// Offsets in the headers of a file in ELF, of 64 bits and little-endian, and in an entry of its table of segments.
const TABLE_OFFSET = 0x20;
const ENTRY_SIZE = 0x36;
const ENTRIES = 0x38;
const SEGMENT_OFFSET = 0x08;
const SEGMENT_SIZE = 0x20;
const PT_INTERP = 3;

/**
 * A program with another loader, whose path is put at the end of the file.
 *
 * @param {string} path
 * @param {string} loader
 * @returns {Buffer | undefined} undefined where the file is no program that has a loader
 */
function withLoader(path, loader) {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats?.isFile() || (stats.mode & 0o111) === 0) return undefined;
  const file = readFileSync(path);
  if (file.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') return undefined;
  const table = Number(file.readBigUInt64LE(TABLE_OFFSET));
  const entrySize = file.readUInt16LE(ENTRY_SIZE);
  const entries = Array.from({ length: file.readUInt16LE(ENTRIES) }, (_, i) => table + i * entrySize);
  const entry = entries.find((at) => file.readUInt32LE(at) === PT_INTERP);
  if (entry === undefined) return undefined;
  const name = Buffer.from(`${loader}\0`);
  file.writeBigUInt64LE(BigInt(file.length), entry + SEGMENT_OFFSET);
  file.writeBigUInt64LE(BigInt(name.length), entry + SEGMENT_SIZE);
  return Buffer.concat([file, name]);
}
