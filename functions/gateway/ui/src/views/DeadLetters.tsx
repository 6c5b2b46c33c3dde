// Tasks that were set aside for a person, and the button that sends them on their way again.
import { useEffect, useState } from 'preact/hooks';
import { api, call } from '../api';
import { ago, nameOf } from '../format';
import { hear } from '../jobs';
import type { DeadLetter } from '../shapes';
import { Icon } from './Icon';

interface Listed {
  dead_letters: DeadLetter[];
  next?: string | null;
}

function Letter({ letter, again }: { letter: DeadLetter; again: () => void }) {
  const [state, setState] = useState<'' | 'goes' | string>('');
  const { job, stage } = letter.task;
  const redrive = async () => {
    setState('goes');
    try {
      await call(`/api/dead-letters/${job}/redrive`, { method: 'POST' });
      again();
    } catch (error) {
      setState((error as Error).message);
    }
  };
  return (
    <li>
      <div>
        <a href={`#/jobs/${job}`}>
          <b>{nameOf(letter.key, job)}</b>
        </a>
        <span class="quiet">
          {[stage ?? 'upload', letter.attempts && `${letter.attempts} attempts`, ago(letter.at, Date.now())]
            .filter(Boolean)
            .join(' · ')}
        </span>
        <p class="error">{letter.error}</p>
        {state && state !== 'goes' && (
          <p class="bad small" role="alert">
            {state}
          </p>
        )}
      </div>
      <button
        class="button"
        type="button"
        disabled={state === 'goes'}
        onClick={redrive}
        aria-label={`Redrive ${nameOf(letter.key, job)}`}
      >
        <Icon name="turn" />
        Redrive
      </button>
    </li>
  );
}

export function DeadLetters() {
  const [listed, setListed] = useState<Listed | null>(null);
  const [error, setError] = useState<string | null>(null);
  const load = async (cursor?: string | null) => {
    try {
      const asked = new URLSearchParams({ limit: '100', ...(cursor ? { cursor } : {}) });
      const got = await api<Listed>(`/api/dead-letters?${asked}`);
      setListed((was) => ({
        ...got,
        dead_letters: [...(cursor ? (was?.dead_letters ?? []) : []), ...got.dead_letters],
      }));
      setError(null);
    } catch (why) {
      setError((why as Error).message);
    }
  };
  useEffect(() => {
    load();
    return hear((event) => {
      if (event.kind === 'dead' || event.kind === 'accepted') load();
    });
  }, []);
  return (
    <div class="view">
      <div class="head">
        <h1>
          Dead letters{' '}
          {listed && (
            <span class="count">
              {listed.dead_letters.length}
              {listed.next ? '+' : ''}
            </span>
          )}
        </h1>
      </div>
      {error && (
        <p class="banner bad" role="alert">
          {error}
        </p>
      )}
      {listed?.dead_letters.length === 0 && (
        <p class="empty">None. What fails again and again is set aside here.</p>
      )}
      {listed && listed.dead_letters.length > 0 && (
        <ul class="letters panel">
          {listed.dead_letters.map((letter) => (
            <Letter
              key={`${letter.task.job}${letter.life}${letter.at}`}
              letter={letter}
              again={() => load()}
            />
          ))}
        </ul>
      )}
      {listed?.next && (
        <button class="button" type="button" onClick={() => load(listed.next)}>
          More
        </button>
      )}
    </div>
  );
}
