// A picture of a job. With a token it is fetched, since an <img> sends no header.
import { useEffect, useState } from 'preact/hooks';
import { call, token } from '../api';

export function Picture({ url, alt, lazy = false }: { url: string; alt: string; lazy?: boolean }) {
  const [source, setSource] = useState<string | null>(token() ? null : url);
  const [isGone, setGone] = useState(false);
  useEffect(() => {
    setGone(false);
    if (!token()) {
      setSource(url);
      return undefined;
    }
    let made: string | null = null;
    let isOver = false;
    const fetched = async () => {
      const blob = await (await call(url)).blob();
      if (isOver) return;
      made = URL.createObjectURL(blob);
      setSource(made);
    };
    fetched().catch(() => setGone(true));
    return () => {
      isOver = true;
      if (made) URL.revokeObjectURL(made);
    };
  }, [url]);
  if (isGone || !source) return <span class="no-picture" aria-hidden="true" />;
  return (
    <img
      src={source}
      alt={alt}
      loading={lazy ? 'lazy' : undefined}
      decoding="async"
      onError={() => setGone(true)}
    />
  );
}
