import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

/** Dawn in this Node: the package `webgpu` names no version of Dawn but its own. */
export async function nodeEngine(): Promise<string> {
  const { version } = JSON.parse(await readFile('node_modules/webgpu/package.json', 'utf8')) as {
    readonly version: string;
  };
  return `Node ${process.versions.node}, webgpu ${version}`;
}

/** A Deno and its wgpu, whose version only the paths of its sources tell that are kept for panics. */
export async function denoEngine(deno: string): Promise<string> {
  const script = 'console.log(JSON.stringify([Deno.version.deno, Deno.execPath()]))';
  const { stdout } = await promisify(execFile)(deno, ['eval', script]);
  const [version, program] = JSON.parse(stdout) as [string, string];
  const [, wgpu] = /wgpu-core-(\d+\.\d+\.\d+)/.exec(await readFile(program, 'latin1')) ?? [];
  return wgpu ? `Deno ${version}, wgpu ${wgpu}` : `Deno ${version}`;
}

/** A browser, by what it says of itself: `HeadlessChrome/156.0.8078.108`, `firefox/153.7.0`. */
export function browserEngine(version: string): string {
  const [name = '', number = ''] = version.replace(/^Headless/, '').split('/');
  return `${name.charAt(0).toUpperCase()}${name.slice(1)} ${number}`.trim();
}
