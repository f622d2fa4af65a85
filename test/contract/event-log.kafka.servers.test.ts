import { afterAll, beforeAll } from 'vitest'
import { type Stack, startStack } from '../../ops/stack/stack.ts'
import { describeKafkaMigration } from './event-log.kafka-migrate.ts'
import { kafkaPlace } from './event-log.kafka-place.ts'
import { describeKafkaTopics } from './event-log.kafka-topic.ts'
import { describeLogServer, SHORT } from './event-log.server.ts'
import { describeEventLog } from './event-log.ts'

let stack: Stack<'kafka'>
beforeAll(async () => {
  stack = await startStack({ only: ['kafka'] })
})
afterAll(() => stack.stop())

describeEventLog('kafka', () => kafkaPlace(stack.kafka))
describeKafkaTopics(() => stack.kafka)
describeKafkaMigration(() => stack.kafka)
describeLogServer('kafka', () => kafkaPlace(stack.kafka, SHORT))
