import type { Reply, Request } from '../protocol.js';

/** The worker, by its messages. */
export class WorkerClient {
  readonly #worker: Worker;

  constructor(onReply: (reply: Reply) => void, onCrash: (message: string) => void) {
    this.#worker = new Worker(new URL('../worker/worker.ts', import.meta.url), { type: 'module' });
    this.#worker.addEventListener('message', ({ data }: MessageEvent<Reply>) => onReply(data));
    this.#worker.addEventListener('error', ({ message }) => onCrash(message));
  }

  send(request: Request): void {
    this.#worker.postMessage(request, []);
  }
}
