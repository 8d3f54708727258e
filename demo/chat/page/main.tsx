import { render } from 'preact';
import { App } from './App.js';
import { Chat } from './chat.js';
import { WorkerClient } from './client.js';

const client = new WorkerClient(
  (reply) => chat.receive(reply),
  (message) => chat.crash(message),
);
const chat = new Chat((request) => client.send(request));
render(<App chat={chat} />, document.getElementById('app')!);
chat.begin();
addEventListener('pagehide', () => chat.saveNow());
