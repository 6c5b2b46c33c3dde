// What an event changes in a job's line. Pure.
import { type JobEvent, type JobLine, STAGES } from './shapes';

const ENDS = { finished: 'done', rejected: 'rejected', dead: 'dead', cancelled: 'cancelled' } as const;

export const hasEnded = (job: JobLine): boolean => !['queued', 'running'].includes(job.state);
export const isBad = (job: JobLine): boolean => ['rejected', 'dead', 'unreadable'].includes(job.state);
export const canRedrive = (job: JobLine): boolean => ['dead', 'cancelled'].includes(job.state);

/** A job of which only this event is known. */
export function begin(event: JobEvent): JobLine {
  return {
    id: event.job,
    state: 'queued',
    life: event.life,
    key: event.key ?? null,
    reason: null,
    phase: null,
    fraction: 0,
    seen_at_ms: event.at,
    stages: STAGES.map((stage) => ({ stage, state: 'waiting', fraction: 0 })),
  };
}

/** The line after the event; the same object when nothing changed. */
export function fold(job: JobLine, event: JobEvent): JobLine {
  if (event.life < job.life) return job;
  let now = job;
  if (event.life > job.life) {
    // It was begun again: what is done stays done, all else is void.
    const kept = job.stages.map((one) =>
      one.state === 'done' ? one : { ...one, state: 'waiting' as const, fraction: 0 },
    );
    now = { ...begin(event), key: job.key, seen_at_ms: job.seen_at_ms, stages: kept };
  }
  if (event.kind in ENDS) {
    const state = ENDS[event.kind as keyof typeof ENDS];
    const stages =
      state === 'done'
        ? now.stages.map((one) => ({ ...one, state: 'done' as const, fraction: 1 }))
        : now.stages;
    const fraction = state === 'done' ? 1 : now.fraction;
    const reason = event.reason ?? event.error ?? null;
    return { ...now, state, stages, fraction, reason, phase: null, eta: null, queue_position: null };
  }
  if (event.kind === 'accepted') return { ...now, key: event.key ?? now.key };
  if (hasEnded(now)) return now;
  const line = now.stages.find((one) => one.stage === event.stage);
  if (!line || line.state === 'done') return now;
  const next = { ...line };
  if (event.kind === 'stage_done') Object.assign(next, { state: 'done', fraction: 1 });
  else Object.assign(next, { state: 'running', fraction: Math.max(line.fraction, event.fraction ?? 0) });
  const stages = now.stages.map((one) => (one === line ? next : one));
  const fraction = stages.reduce((sum, one) => sum + one.fraction, 0) / stages.length;
  const phase = event.kind === 'progress' ? `${event.stage}: ${event.phase}` : (event.stage ?? null);
  const state = event.kind === 'stage_done' ? now.state : 'running';
  return { ...now, state, stages, fraction, phase };
}
