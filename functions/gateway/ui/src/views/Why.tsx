// Why a job waits or runs as it does, and why its batches were what they were.
import { apiIfThere } from '../api';
import { bytes } from '../format';
import type { Explained } from '../shapes';
import { usePolled } from '../store';

const EVERY_MS = 4_000;

export function Why({ id, isOpen, stages }: { id: string; isOpen: boolean; stages: number }) {
  const { value } = usePolled<Explained>(
    (signal) => apiIfThere<Explained>(`/api/jobs/${id}/explain`, signal).catch(() => null),
    isOpen ? EVERY_MS : 0,
    [id, isOpen, stages],
  );
  if (!value || (!isOpen && value.batches.length === 0)) return null;
  return (
    <section class="panel why" aria-labelledby="why-title">
      <h2 id="why-title">Why</h2>
      {isOpen && <p>{value.text}</p>}
      <ul class="batches">
        {value.batches.map((batch) => (
          <li key={batch.stage}>
            <i class={`stage-${batch.stage}`} />
            <b>{batch.stage}</b>
            <span>
              {batch.items === 1 ? 'alone' : `in a batch of ${batch.items}`}, {bytes(batch.bytes)} reserved
            </span>
            <span class="quiet small">{batch.why}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}
