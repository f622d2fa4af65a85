import fc from 'fast-check'
import { expect, test } from 'vitest'
import { OPERATOR_PERMISSIONS, SCOPED_PERMISSIONS } from '../../../schemas/http/permissions.ts'
import { seenSubjects } from '../../../schemas/http/scope.ts'

/** HC-8: who sees what in usage answers. */
const SUBJECTS = ['a', 'b', 'c', 'd', '']
const subjects = fc.uniqueArray(fc.constantFrom(...SUBJECTS), { maxLength: 5 })
const visible = fc.oneof(fc.constant('everything' as const), subjects)

test('a subject is seen if it was asked for and may be seen; everybody, only by whoever may see and asks for everybody', () => {
  fc.assert(
    fc.property(fc.option(subjects, { nil: undefined }), visible, (asked, may) => {
      const seen = seenSubjects(asked, may)
      expect(seen === 'everything').toBe(asked === undefined && may === 'everything')
      if (seen === 'everything') return
      for (const subject of [...SUBJECTS, 'z']) {
        const isAsked = asked === undefined || asked.includes(subject)
        const isVisible = may === 'everything' || may.includes(subject)
        expect(seen.includes(subject)).toBe(isAsked && isVisible)
      }
    }),
  )
})

test('what a key with a scope may hold reads, or sets quota aside, inside one tenant', () => {
  for (const permission of SCOPED_PERMISSIONS) {
    expect(permission).toMatch(/^billing:((usage|meters|quotas):read|quotas:consume)$/)
    expect(OPERATOR_PERMISSIONS).not.toContain(permission)
  }
})
