// Four bars: how far a job is.
import type { JobLine } from '../shapes';
import { isBad } from '../fold';

export function Stages({ job, named = false }: { job: JobLine; named?: boolean }) {
  const percent = Math.round(job.fraction * 100);
  return (
    <div
      class={`stages${named ? ' named' : ''}${isBad(job) ? ' failed' : ''}`}
      role="progressbar"
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
      aria-label={`stages of ${job.key ?? job.id}`}
      aria-valuetext={`${percent} %, ${job.phase ?? job.state}`}
    >
      {job.stages.map((one) => {
        const fraction = one.state === 'done' ? 1 : one.fraction;
        return (
          <span
            key={one.stage}
            class={`stage ${one.state}`}
            title={`${one.stage}: ${Math.round(fraction * 100)} %`}
          >
            <span class="track">
              <span class="fill" style={{ width: `${fraction * 100}%` }} />
            </span>
            {named && <span class="name">{one.stage}</span>}
          </span>
        );
      })}
    </div>
  );
}
