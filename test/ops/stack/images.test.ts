import { expect, test } from 'vitest'
import { IMAGES } from '../../../ops/stack/containers.ts'
import { filledIn, parseCompose, repositoryFile } from '../deploy/compose.ts'

const PASSWORDS = { POSTGRES_PASSWORD: 'aa', CLICKHOUSE_PASSWORD: 'bb', REDIS_PASSWORD: 'cc' }

test("the stack's containers are those of docker-compose.yml, to the tag", () => {
  const { services } = parseCompose(filledIn(repositoryFile('docker-compose.yml'), PASSWORDS))
  const images = Object.fromEntries(Object.keys(IMAGES).map((name) => [name, services[name]?.image]))
  expect(images).toEqual(IMAGES)
})
