import { refuse } from '../engineError.js';
import { readJson } from './modelFiles.js';
import { UrlFiles } from './urlFiles.js';

export interface HubOptions {
  /** A branch, a tag or a commit. Default `main`. */
  readonly revision?: string | undefined;
  /** A token of an account that may read the model, for models that are not public. */
  readonly token?: string | undefined;
  /** The address of the hub. Default https://huggingface.co. */
  readonly endpoint?: string | undefined;
  /** Stops requests. */
  readonly signal?: AbortSignal | undefined;
  /** As for `urlFiles`. */
  readonly retryMs?: number | undefined;
}

/** The files of a model on the Hugging Face Hub, of one commit. */
export class HubFiles extends UrlFiles {
  readonly commit: string;

  constructor(id: string, commit: string, options: HubOptions = {}) {
    super(`${endpointOf(options)}/${id}/resolve/${commit}`, {
      name: id,
      request: requestOf(options),
      explain: ({ status }) => {
        if (status !== 401 && status !== 403) return undefined;
        const whom = options.token === undefined ? '' : ', nor for the token given';
        return `${id} is not for everybody${whom}: accept its conditions at ${endpointOf(options)}/${id}, and pass a token of your account, as HF_TOKEN to the command.`;
      },
      retryMs: options.retryMs,
    });
    this.commit = commit;
  }
}

/** @throws EngineError if a text cannot be the id of a model */
export function checkHubId(id: string): void {
  if (/^[\w][\w.-]*\/[\w][\w.-]*$/.test(id)) return;
  refuse(`${JSON.stringify(id)} is no id of a model on the Hugging Face Hub, which is owner/name.`);
}

/**
 * Returns the files of a model on the Hugging Face Hub as they are now: a later commit does not mix with them.
 *
 * @throws EngineError if there is no such model or revision, or it is not public
 */
export async function hubFiles(id: string, options: HubOptions = {}): Promise<HubFiles> {
  checkHubId(id);
  const { revision = 'main' } = options;
  if (isCommit(revision)) return new HubFiles(id, revision, options);
  const none = `The Hugging Face Hub has no model ${id}`;
  const revisions = new UrlFiles(`${endpointOf(options)}/api/models/${id}/revision`, {
    name: id,
    request: requestOf(options),
    explain: ({ status }) =>
      status === 401 || status === 403
        ? `${none} that ${options.token === undefined ? 'is public' : 'this token may read'}.`
        : undefined,
    retryMs: options.retryMs,
  });
  const found = await readJson(revisions, revision);
  if (!found) refuse(`${none}${revision === 'main' ? '' : ` with the revision ${revision}`}.`);
  const { sha } = found;
  if (typeof sha !== 'string' || !isCommit(sha))
    refuse(`The Hugging Face Hub does not say which commit ${revision} of ${id} is.`);
  return new HubFiles(id, sha, options);
}

function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

function endpointOf({ endpoint = 'https://huggingface.co' }: HubOptions): string {
  return endpoint.replace(/\/+$/, '');
}

function requestOf({ token, signal }: HubOptions): RequestInit {
  return {
    ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
    ...(signal === undefined ? {} : { signal }),
  };
}
