import { METERS } from '../events.ts'

/** Whether each subject may use some of the meter that it has a limit on. */
export function checkBody(subjects: readonly string[]): string {
  const [meter = ''] = METERS
  return JSON.stringify({ checks: subjects.map((subject) => ({ subject, meter, quantity: '5' })) })
}
