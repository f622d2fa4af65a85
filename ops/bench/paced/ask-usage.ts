import type { World } from './world.ts'

export type Asked = { meter: string; subjects?: readonly string[]; groupBy?: string }
export type Told = { events: number; subjects: string[] }

const DAY_MS = 86_400_000

/** Usage of all events around today, as anybody asks for it. */
export async function askUsage(world: Pick<World, 'usageUrl' | 'started'>, asked: Asked): Promise<Told> {
  const day = (days: number) => new Date(Date.now() + days * DAY_MS).toISOString()
  const query = new URLSearchParams({ meter: asked.meter, from: day(-3), to: day(1) })
  for (const subject of asked.subjects ?? []) query.append('subject', subject)
  if (asked.groupBy !== undefined) query.set('group_by', asked.groupBy)
  const headers = { authorization: `Bearer ${world.started.key}` }
  const response = await fetch(`${world.usageUrl}/api/v1/usage?${query}`, { headers })
  const text = await response.text()
  if (response.status !== 200) throw new Error(`Usage answered ${response.status}: ${text.slice(0, 500)}`)
  const { total, windows } = JSON.parse(text) as { total: { events: number }; windows: { subject?: string }[] }
  return { events: total.events, subjects: windows.flatMap((window) => window.subject ?? []) }
}
