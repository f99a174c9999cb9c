import { formatPercent } from "../../format.js";
import { html } from "../../html.js";

/** What devices do: in words for now and for a share of the last minute, and the colour of both. */
export const ACTIVITIES = {
  generate: { now: ["generates", "accent"], share: "own jobs" },
  follow: { now: ["computes a branch", "ok"], share: "branches of others' jobs" },
  serve: { now: ["computes ControlNets", "warn"], share: "ControlNets of others" },
  idle: { now: ["idle", "muted"], share: "idle" },
};

/** The last minute of a device as a bar of shares, with the same in words under it. */
export function ActivityShares({ worker }) {
  const told = worker.activity_shares;
  const shares = Object.keys(told).length ? told : { generate: worker.utilization, idle: 1 - worker.utilization };
  const shown = Object.keys(ACTIVITIES).filter((activity) => shares[activity] > 0.004);
  return html`<div class="activity">
    <div class="activity-bar" aria-hidden="true">
      ${shown.map((activity) => html`<span key=${activity} class="activity-${activity}" style=${{ width: `${100 * shares[activity]}%` }}></span>`)}
    </div>
    <ul class="activity-text" aria-label="Shares of the last minute">
      ${shown.map((activity) => html`<li key=${activity} class="activity-${activity}">${formatPercent(shares[activity])} ${ACTIVITIES[activity].share}</li>`)}
    </ul>
  </div>`;
}
