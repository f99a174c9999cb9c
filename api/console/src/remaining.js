import { useEffect, useState } from "preact/hooks";

/** Steps that must have been done before the time of the others is told by theirs. */
const LEAST_STEPS = 2;

/**
 * In about how many seconds a job will be done: by its steps while it runs, else by the estimate of its submission.
 * `null`: nobody knows, or it takes longer than was estimated. `now`: milliseconds, of Date.now().
 */
export function remainingSeconds(job, now) {
  const { step, total } = job.progress ?? {};
  if (job.status === "running" && step >= LEAST_STEPS && job.started_at) {
    const elapsed = (now - Date.parse(job.started_at)) / 1000;
    return Math.max(0, (elapsed / step) * (total - step));
  }
  const eta = job.estimate?.eta_s;
  if (eta === null || eta === undefined) return null;
  const left = Date.parse(job.created_at) / 1000 + eta - now / 1000;
  return left >= 0 ? left : null;
}

/** `remainingSeconds` by a clock that goes on. */
export function useRemaining(job) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return remainingSeconds(job, now);
}
