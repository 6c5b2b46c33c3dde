// The frame: bar, tabs, the view of the moment, and what works everywhere (drop, paste, keys).
import { useEffect, useRef, useState } from 'preact/hooks';
import licences from '../licences.txt?url';
import { forgetToken, keepToken, token } from '../api';
import { follow, link } from '../jobs';
import { go, route } from '../route';
import { useStore } from '../store';
import { type Theme, switchTheme, theme } from '../theme';
import { send } from '../uploads';
import { DeadLetters } from './DeadLetters';
import { Devices } from './Devices';
import { Icon } from './Icon';
import { JobPage } from './JobPage';
import { Jobs } from './Jobs';
import { Performance } from './Performance';

const TABS = [
  { at: 'jobs', to: '#/', name: 'Jobs' },
  { at: 'devices', to: '#/devices', name: 'Devices' },
  { at: 'performance', to: '#/performance', name: 'Performance' },
  { at: 'dead', to: '#/dead', name: 'Dead letters' },
] as const;

const isTyping = (target: EventTarget | null) =>
  target instanceof HTMLElement &&
  target.closest('input, select, textarea, [contenteditable], canvas') !== null;

/** Pictures dropped or pasted anywhere become jobs. */
function useFiles(): boolean {
  const [isOver, setOver] = useState(false);
  useEffect(() => {
    let depth = 0;
    const has = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false;
    const enter = (event: DragEvent) => {
      if (has(event)) {
        depth += 1;
        setOver(true);
      }
    };
    const leave = (event: DragEvent) => {
      if (has(event)) {
        depth -= 1;
        if (depth <= 0) setOver(false);
      }
    };
    const over = (event: DragEvent) => {
      if (has(event)) event.preventDefault();
    };
    const drop = (event: DragEvent) => {
      if (!has(event)) return;
      event.preventDefault();
      depth = 0;
      setOver(false);
      send([...(event.dataTransfer?.files ?? [])]);
      go('#/');
    };
    const paste = (event: ClipboardEvent) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length === 0) return;
      event.preventDefault();
      send(files);
      go('#/');
    };
    const all = [
      ['dragenter', enter],
      ['dragleave', leave],
      ['dragover', over],
      ['drop', drop],
      ['paste', paste],
    ] as const;
    for (const [name, act] of all) window.addEventListener(name, act as EventListener);
    return () => {
      for (const [name, act] of all) window.removeEventListener(name, act as EventListener);
    };
  }, []);
  return isOver;
}

function useKeys(showHelp: () => void, turnTheme: () => void): void {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      const tab = TABS[Number(event.key) - 1];
      if (tab) go(tab.to);
      else if (event.key === '?') showHelp();
      else if (event.key === 't') turnTheme();
      else if (event.key === 'u') {
        go('#/');
        requestAnimationFrame(() => document.getElementById('file')?.click());
      } else if (event.key === 'Escape' && route.get().at === 'job') go('#/');
    };
    window.addEventListener('keydown', press);
    return () => window.removeEventListener('keydown', press);
  }, []);
}

function Help({ close }: { close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const keys: [string, string][] = [
    ['1 – 4', 'jobs, devices, performance, dead letters'],
    ['j k  or arrows', 'move in the list'],
    ['Enter', 'open the job'],
    ['Esc', 'back to the list'],
    ['u', 'choose pictures'],
    ['Ctrl V', 'paste a picture'],
    ['t', 'dark, light, as the system'],
    ['arrows, + −', 'turn and zoom the model, once it has the focus'],
    ['?', 'this list'],
  ];
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={close}>
      <h2 id="help-title">Keys</h2>
      <dl>
        {keys.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <form method="dialog">
        <button class="button" type="submit">
          Close
        </button>
        <a class="quiet" href={licences}>
          Licences
        </a>
      </form>
    </dialog>
  );
}

function Locked() {
  const [was] = useState(token() !== null);
  const enter = (event: Event) => {
    event.preventDefault();
    const said = new FormData(event.target as HTMLFormElement).get('token');
    keepToken(String(said ?? '').trim());
    link.set({ state: 'connecting', why: '' });
    follow();
  };
  return (
    <main class="gate">
      <form class="panel" aria-labelledby="locked-title" onSubmit={enter}>
        <h1 id="locked-title">This server wants its token</h1>
        {was && (
          <p class="bad" role="alert">
            The token is not the right one.
          </p>
        )}
        <label class="field">
          <span>Token</span>
          <input name="token" type="password" autocomplete="current-password" required autofocus />
        </label>
        <button class="button primary" type="submit">
          Enter
        </button>
        <p class="quiet">It is kept in this tab alone, until the tab is closed.</p>
      </form>
    </main>
  );
}

const LINK = { connecting: 'Connecting', live: 'Live', lost: 'Reconnecting', locked: 'Locked' };
const THEME: Record<Theme, string> = { auto: 'as the system', dark: 'dark', light: 'light' };

export function App() {
  const { at, ...more } = useStore(route);
  const { state, why } = useStore(link);
  const [now, setTheme] = useState(theme());
  const [isHelp, setHelp] = useState(false);
  const isOver = useFiles();
  const turnTheme = () => setTheme(switchTheme());
  useKeys(() => setHelp(true), turnTheme);
  const isAt = (tab: string) => tab === at || (tab === 'jobs' && at === 'job');
  return (
    <>
      <header class="bar">
        <a class="brand" href="#/">
          <Icon name="logo" />
          <span>Meshwright</span>
        </a>
        <nav aria-label="Views">
          {TABS.map((tab) => (
            <a key={tab.at} href={tab.to} aria-current={isAt(tab.at) ? 'page' : undefined}>
              {tab.name}
            </a>
          ))}
        </nav>
        <div class="tools">
          <span class={`link ${state}`} role="status" title={why || undefined}>
            <i />
            <b>{LINK[state]}</b>
          </span>
          <button
            class="icon"
            type="button"
            onClick={turnTheme}
            title={`Colours: ${THEME[now]}`}
            aria-label={`Colours: ${THEME[now]}; switch`}
          >
            <Icon name={now} />
          </button>
          <button
            class="icon keys"
            type="button"
            onClick={() => setHelp(true)}
            title="Keys"
            aria-label="Keys"
          >
            <Icon name="keys" />
          </button>
          {token() && (
            <button
              class="icon"
              type="button"
              title="Forget the token"
              aria-label="Forget the token"
              onClick={() => {
                forgetToken();
                location.reload();
              }}
            >
              <Icon name="leave" />
            </button>
          )}
        </div>
      </header>
      {state === 'locked' ? (
        <Locked />
      ) : (
        <main>
          {at === 'jobs' && <Jobs />}
          {at === 'job' && 'id' in more && <JobPage key={more.id} id={more.id as string} />}
          {at === 'devices' && <Devices />}
          {at === 'performance' && <Performance />}
          {at === 'dead' && <DeadLetters />}
        </main>
      )}
      {isOver && (
        <div class="drop-over" aria-hidden="true">
          <p>Drop to make models</p>
        </div>
      )}
      {isHelp && <Help close={() => setHelp(false)} />}
    </>
  );
}
