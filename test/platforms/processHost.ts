import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Host } from './host.js';
import type { Message } from './message.js';

export interface Program {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/** A lane in a process of its own, which prints its messages. */
export function processHost({ command, args, env }: Program): Host {
  return {
    async start(options, receive) {
      const child = spawn(command, [...args, JSON.stringify(options)], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, ...env },
      });
      // What cases and drivers print stands between the messages.
      createInterface(child.stdout).on('line', (line) => {
        if (line.startsWith('{"kind":')) receive(JSON.parse(line) as Message);
        else console.log(line);
      });
      const ended = new Promise<string>((resolve) => {
        child.on('error', (error) => resolve(error.message));
        child.on('close', (code, signal) => resolve(`the process ended with ${signal ?? code}`));
      });
      return {
        ended,
        async stop() {
          child.kill('SIGKILL');
          await ended;
        },
      };
    },
  };
}
