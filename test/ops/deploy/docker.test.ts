import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ROLES, refusal, serversOf } from '../../../ops/cli/settings.ts'
import { PROBLEM_CODES } from '../../../schemas/http/problem.ts'
import { importsOf, packageOf, REPOSITORY, resolveImport, sourceFiles } from '../../support/source-files.ts'
import { filledIn, parseCompose, repositoryFile, type Service, variablesOf } from './compose.ts'
import {
  copyOf,
  environmentOf,
  execForm,
  parseDockerfile,
  type Stage,
  shellOf,
  valuesOf,
  withInherited,
} from './dockerfile.ts'
import { mappedRoutes, mappingFaults, servedRoutes } from './routes.ts'

const dockerfile = repositoryFile('Dockerfile')
const composeFile = repositoryFile('docker-compose.yml')
const haproxy = repositoryFile('ops/deploy/docker/haproxy.cfg')
const routesMap = repositoryFile('ops/deploy/docker/routes.map')
const readme = repositoryFile('ops/deploy/docker/README.md')

const PASSWORDS = { POSTGRES_PASSWORD: 'aa', CLICKHOUSE_PASSWORD: 'bb', REDIS_PASSWORD: 'cc' }
const stages = parseDockerfile(dockerfile)
const last = stages.at(-1) as Stage
const image = withInherited(stages, last)
const compose = parseCompose(filledIn(composeFile, PASSWORDS))
const services = Object.entries(compose.services)
const serviceOf = (name: string): Service => {
  const found = compose.services[name]
  if (!found) throw new Error(`docker-compose.yml has no service ${name}`)
  return found
}

/** A tag down to the patch: `20.20.2-bookworm-slim`, `4.3.1`, or down to the minor where there is no patch: `18.6`. */
const PINNED = /^[\w./-]+:\d+\.\d+(?:\.\d+)*(?:-[\w.]+)*$/

describe('the image', () => {
  test('comes from a pinned Node of the supported line, in several stages', () => {
    const images = stages.map((stage) => stage.from).filter((from) => !stages.some((stage) => stage.name === from))
    expect(stages.length).toBeGreaterThan(1)
    expect(images).toHaveLength(1)
    expect(images[0]).toMatch(PINNED)
    expect(images[0]).toMatch(/^node:(20|22|24)\..*-slim$/)
  })

  test('runs as a numbered user that is not root, from a command in exec form', () => {
    const user = valuesOf(image, 'USER').at(-1)
    expect(user).toMatch(/^[1-9]\d*:[1-9]\d*$/)
    // Whatever comes after USER would be written by that user.
    const afterUser = image.slice(image.findLastIndex((one) => one.keyword === 'USER') + 1)
    expect(afterUser.filter((one) => ['RUN', 'COPY', 'ADD'].includes(one.keyword))).toEqual([])
    const bin = JSON.parse(repositoryFile('package.json')) as { bin: { tallyline: string } }
    expect(execForm(valuesOf(image, 'ENTRYPOINT').at(-1) ?? '')).toEqual(['node', bin.bin.tallyline])
    expect(valuesOf(image, 'STOPSIGNAL')).toEqual(['SIGTERM'])
  })

  test('installs neither what develops nor what embeds, and runs nobody else’s scripts', () => {
    const installs = valuesOf(last.instructions, 'RUN').map(shellOf)
    expect(installs).toEqual(['npm ci --omit=dev --omit=optional --ignore-scripts'])
    for (const run of stages.flatMap((stage) => valuesOf(stage.instructions, 'RUN')).map(shellOf)) {
      if (run.startsWith('npm ci')) expect(run).toContain('--ignore-scripts')
    }
  })

  test('can be loaded without optional and development packages', () => {
    const declared = JSON.parse(repositoryFile('package.json')) as { dependencies: Record<string, string> }
    expect(packagesNeededAtStart().filter((name) => !(name in declared.dependencies))).toEqual([])
    expect(packagesNeededAtStart()).toContain('fastify')
  })

  test('every source of a COPY exists and passes .dockerignore', () => {
    const ignore = repositoryFile('.dockerignore').split('\n')
    expect(ignore).toContain('*')
    for (const stage of stages) {
      for (const { from, sources } of valuesOf(stage.instructions, 'COPY').map(copyOf)) {
        if (from !== undefined) continue
        for (const source of sources) {
          const path = source.replace(/^\.\//, '')
          expect(existsSync(join(REPOSITORY, path)), `COPY ${source}`).toBe(true)
          expect(ignore, `.dockerignore lets ${source} through`).toContain(`!${path}`)
        }
      }
    }
  })

  test('what it copies from another stage is there: the build, and what the product reads while it runs', () => {
    const copies = valuesOf(last.instructions, 'COPY').map(copyOf)
    const taken = copies.filter((copy) => copy.from !== undefined)
    expect(taken.flatMap((copy) => copy.sources).sort()).toEqual(['/app/dist', '/app/schemas'])
    const build = stages.find((stage) => stage.name === taken[0]?.from)
    expect(valuesOf(build?.instructions ?? [], 'RUN').some((run) => run.includes('npm run build'))).toBe(true)
    // All that is compiled is copied first, so a new top-level folder cannot be forgotten.
    const included = (JSON.parse(repositoryFile('tsconfig.build.json')) as { include: string[] }).include
    const sources = valuesOf(build?.instructions ?? [], 'COPY').flatMap((value) => copyOf(value).sources)
    for (const folder of included) expect(sources).toContain(folder)
    expect(readdirSync(join(REPOSITORY, 'schemas', 'postgres')).some((name) => name.endsWith('.sql'))).toBe(true)
  })

  test('listens beyond itself and checks its health at the port it listens on', () => {
    const env = environmentOf(image)
    expect(env).toMatchObject({ NODE_ENV: 'production', HOST: '0.0.0.0', PORT: '8081' })
    expect(valuesOf(image, 'EXPOSE')).toEqual([env.PORT])
    const check = valuesOf(image, 'HEALTHCHECK').at(-1) ?? ''
    expect(execForm(check.slice(check.indexOf('[')))).toEqual(['node', '-e', expect.stringContaining('/healthz')])
    expect(check).toContain('process.env.PORT')
  })
})

/** Packages that the command imports statically, directly or through its own files. */
function packagesNeededAtStart(): string[] {
  const byPath = new Map(sourceFiles().map((file) => [file.path, file]))
  const waiting = ['ops/cli/tallyline.ts']
  const seen = new Set(waiting)
  const packages = new Set<string>()
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const file = byPath.get(path)
    if (!file) continue
    // A word of the same length that is no import: what is imported only when it is needed may be missing.
    const atStart = { text: file.text, code: file.code.replace(/\bimport(?=\s*\()/g, 'lazily') }
    for (const { specifier, typeOnly } of importsOf(atStart)) {
      const own = resolveImport(path, specifier)
      if (typeOnly || specifier.startsWith('node:')) continue
      if (own === undefined) packages.add(packageOf(specifier))
      else if (!seen.has(own)) {
        seen.add(own)
        waiting.push(own)
      }
    }
  }
  return [...packages].sort()
}

describe('the services', () => {
  test('are the four stores, the three roles, their migration and the proxy', () => {
    const names = ['aggregator', 'clickhouse', 'ingest', 'invoicer', 'kafka', 'migrate', 'postgres', 'proxy', 'redis']
    expect(Object.keys(compose.services).sort()).toEqual(names)
  })

  test('run pinned images, or ours', () => {
    const foreign = services.filter(([, service]) => service.build === undefined)
    for (const [name, { image: tag }] of foreign) expect(tag, name).toMatch(PINNED)
    const ours = services.filter(([, service]) => service.build !== undefined)
    expect(ours.map(([name]) => name).sort()).toEqual(['aggregator', 'ingest', 'invoicer', 'migrate'])
    for (const [, service] of ours) expect(service).toMatchObject({ image: 'tallyline:local', build: '.' })
    expect('postgres').not.toMatch(PINNED)
    expect('redis:7').not.toMatch(PINNED)
    expect('haproxy:latest').not.toMatch(PINNED)
  })

  test('run the Kafka that the tests run', () => {
    const tested = /<version>(\d+\.\d+)\.\d+<\/version>/.exec(repositoryFile('ops/stack/kafka/pom.xml'))?.[1]
    expect(serviceOf('kafka').image).toMatch(new RegExp(`^apache/kafka:${tested}\\.`))
  })

  test('have a health check each; what runs once has its exit code', () => {
    for (const [name, { healthcheck, restart }] of services) {
      if (name === 'migrate') {
        expect(healthcheck).toEqual({ disable: true })
        expect(restart).toBe('no')
        continue
      }
      expect(healthcheck?.test?.[0], name).toMatch(/^CMD/)
      expect(healthcheck, name).toMatchObject({ interval: expect.any(String), timeout: expect.any(String) })
      expect(restart, name).toBe('unless-stopped')
    }
  })

  test('wait for what they need', () => {
    for (const [name, { depends_on: needs = {} }] of services) {
      for (const [needed, { condition }] of Object.entries(needs)) {
        const once = serviceOf(needed).restart === 'no'
        const allowed = once ? ['service_completed_successfully'] : ['service_healthy', 'service_started']
        expect(allowed, `${name} needs ${needed}`).toContain(condition)
      }
    }
    for (const role of ROLES) {
      expect(serviceOf(role).depends_on).toMatchObject({ migrate: { condition: 'service_completed_successfully' } })
      for (const store of storesOf(serviceOf(role))) {
        expect(serviceOf(role).depends_on, role).toMatchObject({ [store]: { condition: 'service_healthy' } })
      }
    }
    for (const store of storesOf(serviceOf('migrate'))) {
      expect(serviceOf('migrate').depends_on).toMatchObject({ [store]: { condition: 'service_healthy' } })
    }
  })

  test('tell each role every server that it asks for', () => {
    for (const role of ROLES) {
      const service = serviceOf(role)
      expect(service.command).toEqual([role])
      expect(refusal(role, serversOf(service.environment ?? {}))).toBeUndefined()
    }
    const { databaseUrl, clickhouseUrl, kafkaBrokers } = serversOf(serviceOf('migrate').environment ?? {})
    expect([databaseUrl, clickhouseUrl, kafkaBrokers]).not.toContain(undefined)
  })

  test('give each store the user, password and database that its URL names', () => {
    const env = serviceOf('ingest').environment ?? {}
    const postgres = new URL(env.DATABASE_URL ?? '')
    expect([postgres.username, postgres.password, postgres.pathname.slice(1)]).toEqual(
      ['USER', 'PASSWORD', 'DB'].map((name) => serviceOf('postgres').environment?.[`POSTGRES_${name}`]),
    )
    const clickhouse = new URL(env.CLICKHOUSE_URL ?? '')
    expect([clickhouse.username, clickhouse.password, clickhouse.pathname.slice(1)]).toEqual(
      ['USER', 'PASSWORD', 'DB'].map((name) => serviceOf('clickhouse').environment?.[`CLICKHOUSE_${name}`]),
    )
    const redis = serviceOf('redis')
    expect(redis.command).toEqual(expect.arrayContaining(['--requirepass', new URL(env.REDIS_URL ?? '').password]))
    expect(redis.command?.join(' ')).toContain('--maxmemory-policy noeviction')
    expect(serviceOf('kafka').environment?.KAFKA_ADVERTISED_LISTENERS).toBe(`PLAINTEXT://${env.KAFKA_BROKERS}`)
  })

  test('publish one port, to this machine only', () => {
    const published = services.flatMap(([name, { ports = [] }]) => ports.map((port) => `${name} ${port}`))
    expect(published).toEqual(['proxy 127.0.0.1:8081:8081'])
  })

  test('keep what must stay in declared volumes, and mount only files that exist', () => {
    const mounts = services.flatMap(([, { volumes = [] }]) => volumes.map((volume) => volume.split(':')[0] ?? ''))
    const named = mounts.filter((mount) => !mount.startsWith('.'))
    expect(named.sort()).toEqual(Object.keys(compose.volumes).sort())
    for (const file of mounts.filter((mount) => mount.startsWith('.'))) {
      expect(existsSync(join(REPOSITORY, file)), file).toBe(true)
    }
    for (const store of ['kafka', 'redis', 'clickhouse', 'postgres']) {
      expect(named, store).toContain(`${store}-data`)
    }
  })
})

/** The services that its URLs name. */
function storesOf({ environment = {} }: Service): string[] {
  const { KAFKA_BROKERS, REDIS_URL, CLICKHOUSE_URL, DATABASE_URL } = environment
  const urls = [REDIS_URL, CLICKHOUSE_URL, DATABASE_URL].filter((url) => url !== undefined)
  return [...(KAFKA_BROKERS?.split(',').map((one) => one.split(':')[0] ?? '') ?? []), ...urls.map(hostOf)]
}

function hostOf(url: string): string {
  return new URL(url).hostname
}

describe('settings and secrets', () => {
  test('every variable is in the documentation, every documented one is used', () => {
    const used = new Set(variablesOf(composeFile).map((variable) => variable.name))
    const rows = readme.split('\n').filter((line) => line.startsWith('| `'))
    const documented = rows.flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`(\w+)`/g)].map((one) => one[1]))
    expect([...used].sort()).toEqual(documented.sort())
  })

  test('defaults are those of the documentation', () => {
    for (const { name, fallback } of variablesOf(composeFile)) {
      if (fallback !== undefined)
        expect(readme.split('\n').find((row) => row.includes(`\`${name}\``))).toContain(fallback)
    }
  })

  test('passwords are required and stand nowhere', () => {
    const secrets = variablesOf(composeFile).filter(({ name }) => SECRET.test(name))
    expect(new Set(secrets.map(({ name }) => name)).size).toBe(3)
    expect(secrets.filter(({ required }) => !required)).toEqual([])
    expect(secretLiterals(composeFile)).toEqual([])
    expect(secretLiterals(dockerfile)).toEqual([])
    expect(() => filledIn(composeFile, {})).toThrow('is not set')
  })

  test('a written password would be found', () => {
    const planted = [
      '  POSTGRES_PASSWORD: tally',
      'ENV API_KEY=abc',
      'url: redis://:abc@redis:6379',
      '- --requirepass=x',
    ]
    expect(secretLiterals(planted.join('\n'))).toEqual(planted.map((line) => line.trim()))
    const variable = ['$', '{A:?b}'].join('')
    expect(secretLiterals(`PASSWORD: '${variable}'\nurl: redis://:${variable}@redis`)).toEqual([])
  })
})

const SECRET = /PASSWORD|SECRET|TOKEN|API_KEY|AUTH$/

/** Lines that give a secret a value of their own, where only a variable may stand. */
function secretLiterals(text: string): string[] {
  const lines = text.split('\n').map((line) => line.trim())
  return lines.filter((line) => {
    const bare = line.replace(/\$\{[^}]*\}/g, '$')
    const named = /(?:\w*(?:PASSWORD|SECRET|TOKEN|API_KEY)\w*|\w+AUTH|requirepass)['"]?\s*[:=]\s*['"]?(\S+)/.exec(bare)
    const inUrl = /\w+:\/\/[^/\s:@]*:([^@\s]*)@/.exec(bare)
    const values = [named?.[1], inUrl?.[1]].filter((value) => value !== undefined)
    return !line.startsWith('#') && values.some((value) => !value.startsWith('$'))
  })
}

describe('the one base URL', () => {
  const map = mappedRoutes(routesMap)
  const routes = servedRoutes(sourceFiles())

  test('every route leads to a role that serves it', () => {
    expect(routes.length).toBeGreaterThan(14)
    expect(mappingFaults(routes, map)).toEqual([])
  })

  test('a new route without a line, a line without a route and a wrong role would be found', () => {
    const planted = { path: 'invoicer/doors/rest/refunds.ts', text: "app.get('/api/v1/refunds/:id'" }
    const withRefunds = [...routes, ...servedRoutes([planted])]
    expect(mappingFaults(withRefunds, map)).toEqual([`/api/v1/refunds (${planted.path}) has no role in routes.map`])
    expect(mappingFaults(routes, new Map([...map, ['refunds', 'ingest']]))).toHaveLength(1)
    expect(mappingFaults(routes, new Map([...map, ['events', 'invoicer']]))).toEqual([
      '/api/v1/events is not served by invoicer',
    ])
    const onEveryHost = servedRoutes([{ path: 'ops/access/doors/tokens.ts', text: '`/api/v1/tokens`' }])
    expect(onEveryHost.map((route) => route.role)).toEqual([...ROLES])
  })

  test('every door outside /api/v1 has a line of its own in the proxy', () => {
    const doors = sourceFiles().filter(({ path }) => /^(ingest|aggregator|invoicer)\/doors\/.*\.http\.ts$/.test(path))
    const urls = doors.flatMap(({ text }) => [...text.matchAll(/['"`](\/(?!api\/v1\/)\w[\w/:-]*)['"`]/g)])
    const outside = [...new Set(urls.map((match) => match[1] ?? ''))]
    expect(outside).toContain('/usage/track')
    expect(outside.filter((url) => !url.startsWith('/openmeter/api/v1/'))).toEqual(['/usage/track'])
    expect(haproxy).toContain('str(aggregator) if { path_beg /openmeter/api/v1/ }')
    expect(haproxy).toContain('str(ingest) if { path /openmeter/api/v1/events } { method POST }')
    expect(haproxy).toContain('str(ingest) if { path /usage/track }')
  })

  test('the proxy reaches each role by its service and its port, and knows when it is ready', () => {
    const backends = [
      ...haproxy.matchAll(/^backend (\S+)\n {2}option httpchk GET (\S+)\n {2}server-template \S+ 16 (\S+)$/gm),
    ]
    const expected = ROLES.map((role) => [role, `${role}:${serviceOf(role).environment?.PORT}`] as const)
    expect(backends.map(([, name, path, address]) => [name, path, address])).toEqual([
      ...expected.map(([role, address]) => [role, '/healthz', address]),
      ...expected.map(([role, address]) => [`${role}_ready`, '/readyz', address]),
    ])
    expect([...haproxy.matchAll(/^backend /gm)]).toHaveLength(backends.length)
    expect(haproxy).toContain('bind :8081')
    for (const role of new Set(map.values())) expect(ROLES).toContain(role)
  })

  test('its own answers are problem documents in the product’s words', () => {
    const texts = [...haproxy.matchAll(/application\/problem\+json string '([^']+)'/g)].map((match) => match[1] ?? '')
    const problems = texts.map((text) => JSON.parse(text) as Record<string, unknown>)
    expect(problems.map((problem) => problem.status)).toEqual([502, 503, 504, 404])
    for (const problem of problems) {
      const code = problem.code as keyof typeof PROBLEM_CODES
      expect(problem).toMatchObject({ title: PROBLEM_CODES[code].title, retryable: code === 'unavailable' })
      expect(problem.type).toBe(`https://tallyline.dev/problems/${code}`)
      expect(Object.keys(problem).sort()).toEqual(['code', 'detail', 'retryable', 'status', 'title', 'type'])
    }
  })
})
