// One job: the model beside the picture, its time, its files, its events.
import { useEffect, useState } from 'preact/hooks';
import { Refused, api, apiIfThere, call, save, token } from '../api';
import { canRedrive, fold, hasEnded, isBad } from '../fold';
import { ago, bytes, clock, duration, nameOf } from '../format';
import { hear } from '../jobs';
import type { Job, JobEvent, JobFile, PipelineProfile } from '../shapes';
import { messages } from '../sse';
import { usePolled } from '../store';
import { Icon } from './Icon';
import { Model } from './Model';
import { Picture } from './Picture';
import { Stages } from './Stages';
import { Waterfall } from './Waterfall';
import { Why } from './Why';

const LOG_MAX = 500;

/** The job as the bucket says, moved by events; asked again when its life ends or begins. */
function useJob(id: string): { job: Job | null; error: string | null; again: () => void } {
  const [job, setJob] = useState<Job | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let isOver = false;
    api<Job>(`/api/jobs/${id}`).then(
      (now) => {
        if (!isOver) {
          setJob(now);
          setError(null);
        }
      },
      (why: Error) => {
        if (!isOver)
          setError(why instanceof Refused && why.status === 404 ? 'There is no such job.' : why.message);
      },
    );
    return () => {
      isOver = true;
    };
  }, [id, turn]);
  useEffect(
    () =>
      hear((event) => {
        if (event.job !== id) return;
        setJob((was) => (was ? { ...was, ...fold(was, event) } : was));
        if (!['progress', 'started'].includes(event.kind)) setTurn((n) => n + 1);
      }),
    [id],
  );
  const isOpen = job !== null && !hasEnded(job);
  useEffect(() => {
    if (!isOpen) return undefined;
    const timer = setInterval(() => setTurn((n) => n + 1), 4_000);
    return () => clearInterval(timer);
  }, [isOpen]);
  return { job, error, again: () => setTurn((n) => n + 1) };
}

function words(event: JobEvent): string {
  const { kind, stage, phase, fraction } = event;
  if (kind === 'progress') return `${stage}: ${phase}, ${Math.round((fraction ?? 0) * 100)} %`;
  if (kind === 'started') return `${stage} begins`;
  if (kind === 'stage_done') return `${stage} done`;
  if (kind === 'accepted') return 'accepted';
  const why = event.reason ?? event.error;
  return why ? `${kind}: ${why}` : kind;
}

/** Its own stream: it begins with all that is still in the log. */
function useLog(id: string): JobEvent[] {
  const [log, setLog] = useState<JobEvent[]>([]);
  useEffect(() => {
    const end = new AbortController();
    setLog([]);
    const read = async () => {
      const response = await call(`/api/jobs/${id}/events`, { signal: end.signal });
      let batch: JobEvent[] = [];
      for await (const { kind, data } of messages(response)) {
        if (kind === 'reload') setLog([]);
        else if (data) batch.push(JSON.parse(data) as JobEvent);
        if (batch.length > 0) {
          const news = batch;
          batch = [];
          setLog((was) => [...was, ...news].slice(-LOG_MAX));
        }
      }
    };
    read().catch(() => {});
    return () => end.abort();
  }, [id]);
  return log;
}

function Log({ id }: { id: string }) {
  const log = useLog(id);
  return (
    <section class="panel" aria-labelledby="log-title">
      <h2 id="log-title">Log</h2>
      {log.length === 0 ? (
        <p class="quiet">No events are kept of it.</p>
      ) : (
        <ol class="log" tabIndex={0} aria-label="events">
          {log.map((event, n) => (
            <li key={n} class={event.kind}>
              <time dateTime={new Date(event.at).toISOString()}>{clock(event.at)}</time>
              <span>{words(event)}</span>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

function File({ file }: { file: JobFile }) {
  const [error, setError] = useState<string | null>(null);
  const click = (event: Event) => {
    if (!token()) return;
    event.preventDefault();
    save(file.url, file.name).catch((why: Error) => setError(why.message));
  };
  return (
    <li>
      <a href={file.url} download={file.name} onClick={click}>
        <Icon name="down" />
        {file.name}
      </a>
      <span class="quiet">{error ?? file.content_type}</span>
      <span class="size">{bytes(file.size_bytes)}</span>
    </li>
  );
}

function Files({ job }: { job: Job }) {
  const delivered = job.artifacts.filter((file) => file.stage === 'export');
  const others = job.artifacts.filter((file) => file.stage !== 'export');
  if (job.artifacts.length === 0) return null;
  return (
    <section class="panel" aria-labelledby="files-title">
      <h2 id="files-title">Files</h2>
      <ul class="files">
        {delivered.map((file) => (
          <File key={file.url} file={file} />
        ))}
      </ul>
      {others.length > 0 && (
        <details>
          <summary>Between the stages</summary>
          <ul class="files">
            {others.map((file) => (
              <File key={file.url} file={file} />
            ))}
          </ul>
        </details>
      )}
    </section>
  );
}

function Facts({ job }: { job: Job }) {
  const { recipe } = job;
  const rows: [string, string][] = [
    ['Upload', `${job.bucket}/${job.key ?? ''}`],
    ['Recipe', `${recipe.engine}, ${recipe.quality}, ${recipe.texture_px} px, ${recipe.formats.join(' ')}`],
    ['Accepted', ago(job.accepted_at_ms, Date.now())],
  ];
  if (job.decided_at_ms) rows.push(['Took', duration(Math.max(0, job.decided_at_ms - job.accepted_at_ms))]);
  if (job.life > 0) rows.push(['Begun again', `${job.life} ×`]);
  rows.push(['Job', job.id]);
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Acts({ job, again }: { job: Job; again: () => void }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const post = async (what: string) => {
    setBusy(true);
    setError(null);
    try {
      await call(`/api/jobs/${job.id}/${what}`, { method: 'POST' });
      again();
    } catch (why) {
      setError((why as Error).message);
    }
    setBusy(false);
  };
  return (
    <div class="acts">
      {error && (
        <span class="bad small" role="alert">
          {error}
        </span>
      )}
      {!hasEnded(job) && (
        <button class="button" type="button" disabled={busy} onClick={() => post('cancel')}>
          <Icon name="cross" />
          Cancel
        </button>
      )}
      {canRedrive(job) && (
        <button class="button primary" type="button" disabled={busy} onClick={() => post('redrive')}>
          <Icon name="turn" />
          Run again
        </button>
      )}
    </div>
  );
}

function eta(job: Job): string {
  if (hasEnded(job)) return '';
  const [p50, p90] = [job.eta?.p50_ms ?? job.eta_p50_ms, job.eta?.p90_ms];
  const parts = [];
  if (job.jobs_ahead) parts.push(`${job.jobs_ahead} before it`);
  if (p50 != null)
    parts.push(`about ${duration(p50)} left${p90 ? `, at most ${duration(p90)} in nine of ten` : ''}`);
  return parts.join(' · ');
}

export function JobPage({ id }: { id: string }) {
  const { job, error, again } = useJob(id);
  const state = job?.state;
  const { value: profile } = usePolled<PipelineProfile>(
    (signal) => apiIfThere<PipelineProfile>(`/api/jobs/${id}/profile`, signal).catch(() => null),
    0,
    [id, state, job?.timings.length],
  );
  if (!job)
    return (
      <p class="empty" role={error ? 'alert' : undefined}>
        {error ?? 'Loading …'}
      </p>
    );
  const name = nameOf(job.key, job.id);
  const model =
    job.artifacts.find((one) => one.name === 'model.glb') ??
    ['textured.glb', 'mesh.glb']
      .map((wish) => job.artifacts.find((one) => one.name === wish))
      .find((one) => one);
  const still = job.artifacts.find((one) => one.name === 'preview.png');
  const hasPicture = job.upload_bytes > 0 && state !== 'rejected';
  return (
    <article class="job">
      <header class="head">
        <a class="icon" href="#/" aria-label="Back to the jobs" title="Back">
          <Icon name="back" />
        </a>
        <h1 title={job.key ?? undefined}>{name}</h1>
        <span class={`chip ${job.state}`}>{job.state}</span>
        <Acts job={job} again={again} />
      </header>
      {job.reason && <p class={isBad(job) ? 'banner bad' : 'banner'}>{job.reason}</p>}
      {(job.notes ?? []).map((note) => (
        <p key={note} class="banner">
          {note}
        </p>
      ))}
      <Stages job={job} named />
      {!hasEnded(job) && <p class="quiet now">{[job.phase, eta(job)].filter(Boolean).join(' · ')}</p>}
      <div class="pair">
        <figure class="picture">
          {hasPicture ? (
            <Picture url={`/api/jobs/${id}/upload`} alt={`The picture ${name}`} />
          ) : (
            <span class="no-picture" />
          )}
          <figcaption>
            <span class="quiet">The picture, {bytes(job.upload_bytes)}</span>
          </figcaption>
        </figure>
        {model ? (
          <Model key={model.url} url={model.url} name={name} />
        ) : (
          <figure class="model">
            <div class="over quiet">
              {still ? (
                <Picture url={still.url} alt={`The model of ${name}`} />
              ) : hasEnded(job) ? (
                'There is no model.'
              ) : (
                'The model comes here.'
              )}
            </div>
          </figure>
        )}
      </div>
      <Waterfall profile={profile} timings={job.timings} />
      <div class="halves">
        <div>
          <Files job={job} />
          <Why
            id={id}
            isOpen={!hasEnded(job)}
            stages={job.stages.filter((one) => one.state === 'done').length}
          />
          <section class="panel" aria-labelledby="facts-title">
            <h2 id="facts-title">Facts</h2>
            <Facts job={job} />
          </section>
        </div>
        <Log id={id} />
      </div>
    </article>
  );
}
