import type { AdapterFacts } from './results.js';

/** What a person calls the adapter; drivers fill in different fields. */
export function adapterName({ vendor, architecture, device, description, software }: AdapterFacts): string {
  const name = description || device || [vendor, architecture].filter(Boolean).join(' ') || 'unknown adapter';
  return software ? `${name} (software)` : name;
}
