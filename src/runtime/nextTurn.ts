/**
 * Gives the thread back: resolves after whatever waits for it, such as input, frames and timers, had its turn. By a
 * message rather than a timer where there are messages, since a page in the background gets a timer a second.
 */
export function nextTurn(): Promise<void> {
  if (typeof MessageChannel === 'undefined') return new Promise((resolve) => setTimeout(resolve, 0));
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    const arrive = (): void => {
      // In Node, an open port keeps the process running.
      port1.close();
      resolve();
    };
    port1.addEventListener('message', arrive, { once: true });
    port1.start();
    port2.postMessage(undefined);
  });
}
