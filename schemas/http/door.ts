import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
} from 'fastify'
import type { Permission } from './permissions.ts'
import type { ProblemCode } from './problem.ts'
import type { Scope } from './scope.ts'

/** The HTTP application handed to each door. A door is a function `(app, deps) => void` that adds routes. */
export type App = FastifyInstance<
  import('node:http').Server,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** Who calls: taken from the API key alone, never from a body or a query. */
export type Caller = {
  tenantId: TenantId
  tenantSlug: string
  keyId: string
  operator: boolean
  permissions: ReadonlySet<Permission>
  scope: Scope
}

/** Who reads: every operation that answers with usage, events or subjects takes this, and never a bare tenant. */
export type Reader = Pick<Caller, 'tenantId' | 'scope'>

/** The tenant's number in every store: Postgres `integer`, ClickHouse `UInt32`, Avro `int`. */
export type TenantId = number

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the host before the handler of any route whose permission is not 'public'. */
    caller: Caller
  }
  interface FastifyContextConfig {
    /** Required on every route: start-up fails without one. 'public' needs no key, 'operator' any operator key. */
    permission?: Permission | 'public'
    /** The handler answers with what the caller's scope shows. On any other route a key with a scope is refused. */
    scoped?: true
    /** The code of every answer 500 of the route: for doors whose callers were promised one. */
    failsAs?: ProblemCode
  }
}
